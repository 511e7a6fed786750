//! Ctrl-C and SIGTERM as a flag.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::time::{Duration, Instant};

static FLAG: AtomicPtr<AtomicBool> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn on_signal(_: libc::c_int) {
    let flag = FLAG.load(Ordering::Acquire);
    if !flag.is_null() {
        // SAFETY: the pointer is to a leaked `Arc`'s content (see `stop_flag`), so it never dangles; an
        // atomic store is allowed in a signal handler.
        unsafe { (*flag).store(true, Ordering::Release) };
    }
}

/// A flag that SIGINT and SIGTERM set. A second signal ends the process as usual.
pub fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    FLAG.store(Arc::into_raw(Arc::clone(&flag)).cast_mut(), Ordering::Release);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: an all-zero sigaction is a valid one to fill in; the handler only stores to an atomic.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_RESETHAND | libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        if result != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(flag)
}

/// Waits until the flag is set or the time is over.
pub fn wait(flag: &AtomicBool, limit: Option<Duration>) {
    let started = Instant::now();
    while !flag.load(Ordering::Acquire) && limit.is_none_or(|limit| started.elapsed() < limit) {
        std::thread::sleep(Duration::from_millis(20));
    }
}
