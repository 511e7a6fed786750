//! What the kernel says about a network interface, asked by ioctl in the calling thread's network
//! namespace (sysfs shows the namespace it was mounted in, so it is not used for this).

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::error::{DriverError, Result};

/// Longest interface name, without the terminating zero (`IFNAMSIZ - 1`).
pub const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// An interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index in this namespace.
    pub index: u32,
    /// Its MAC address (zero on interfaces without one).
    pub mac: [u8; 6],
    /// Largest IP packet in bytes.
    pub mtu: usize,
    /// `IFF_UP`: administratively up.
    pub up: bool,
}

impl Interface {
    /// Looks an interface up by name.
    ///
    /// # Errors
    /// If there is none of that name in the calling thread's namespace, or it has no MAC or MTU.
    pub fn open(name: &str) -> Result<Interface> {
        let control = Control::new(name)?;
        let mut request = control.request();
        control.ioctl(&mut request, libc::SIOCGIFINDEX as libc::c_ulong, "SIOCGIFINDEX")?;
        // SAFETY: after SIOCGIFINDEX the kernel has written this member of the union.
        let index = unsafe { request.ifr_ifru.ifru_ifindex };
        control.ioctl(&mut request, libc::SIOCGIFHWADDR as libc::c_ulong, "SIOCGIFHWADDR")?;
        // SAFETY: after SIOCGIFHWADDR the kernel has written this member of the union.
        let hardware = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
        control.ioctl(&mut request, libc::SIOCGIFMTU as libc::c_ulong, "SIOCGIFMTU")?;
        // SAFETY: after SIOCGIFMTU the kernel has written this member of the union.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        control.ioctl(&mut request, libc::SIOCGIFFLAGS as libc::c_ulong, "SIOCGIFFLAGS")?;
        // SAFETY: after SIOCGIFFLAGS the kernel has written this member of the union.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        let mut mac = [0_u8; 6];
        for (to, from) in mac.iter_mut().zip(hardware) {
            *to = from as u8;
        }
        Ok(Interface {
            name: name.to_owned(),
            index: u32::try_from(index).map_err(|_| DriverError::Config(format!("interface {name} has index {index}")))?,
            mac,
            mtu: usize::try_from(mtu).map_err(|_| DriverError::Config(format!("interface {name} has MTU {mtu}")))?,
            up: i32::from(flags) & libc::IFF_UP != 0,
        })
    }
}

/// The range from which the kernel takes ports for its own connections (`ip_local_port_range`).
pub fn kernel_port_range() -> Option<(u16, u16)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse::<u16>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Offloads that can be switched by the legacy one-word ethtool commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Checksums left to the device on transmit. On a veth peer of ours it must be off, or our frames
    /// arrive with partial checksums.
    TransmitChecksum,
    /// TCP segmentation by the device.
    TcpSegmentation,
    /// Segmentation deferred to just before the driver.
    GenericSegmentation,
    /// Aggregation of received segments; delays and merges frames.
    GenericReceive,
}

impl Offload {
    /// `ETHTOOL_S*` command number (linux/ethtool.h).
    fn set_command(self) -> u32 {
        match self {
            Offload::TransmitChecksum => 0x17,
            Offload::TcpSegmentation => 0x1f,
            Offload::GenericSegmentation => 0x24,
            Offload::GenericReceive => 0x2c,
        }
    }
}

/// Switches an offload of an interface.
///
/// # Errors
/// Without `CAP_NET_ADMIN`, or if the driver has that feature fixed.
pub fn set_offload(name: &str, offload: Offload, on: bool) -> Result<()> {
    /// `struct ethtool_value`.
    #[repr(C)]
    struct EthtoolValue {
        command: u32,
        data: u32,
    }
    let control = Control::new(name)?;
    let mut value = EthtoolValue { command: offload.set_command(), data: u32::from(on) };
    let mut request = control.request();
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    control.ioctl(&mut request, libc::SIOCETHTOOL as libc::c_ulong, &format!("ethtool {offload:?} {}", if on { "on" } else { "off" }))
}

/// Name of the kernel driver behind an interface (`veth`, `ena`, `virtio_net`), if it says.
pub fn kernel_driver(name: &str) -> Option<String> {
    /// `struct ethtool_drvinfo`.
    #[repr(C)]
    struct EthtoolDriverInfo {
        command: u32,
        driver: [libc::c_char; 32],
        rest: [u8; 160],
    }
    const ETHTOOL_GDRVINFO: u32 = 0x3;
    let control = Control::new(name).ok()?;
    let mut info = EthtoolDriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    let mut request = control.request();
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    control.ioctl(&mut request, libc::SIOCETHTOOL as libc::c_ulong, "ethtool driver").ok()?;
    let bytes: Vec<u8> = info.driver.iter().map(|c| *c as u8).collect();
    Some(CStr::from_bytes_until_nul(&bytes).ok()?.to_string_lossy().into_owned())
}

/// A socket on which interface ioctls can be made.
struct Control<'a> {
    socket: OwnedFd,
    name: &'a str,
}

impl<'a> Control<'a> {
    fn new(name: &'a str) -> Result<Control<'a>> {
        if name.is_empty() || name.len() > NAME_MAX || name.bytes().any(|b| b == 0 || b == b'/') {
            return Err(DriverError::Config(format!("{name:?} is no interface name (1 to {NAME_MAX} bytes)")));
        }
        // SAFETY: plain system call without pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(DriverError::last_os("socket(AF_INET, SOCK_DGRAM)"));
        }
        // SAFETY: the descriptor was just created and belongs to nobody else.
        Ok(Control { socket: unsafe { OwnedFd::from_raw_fd(fd) }, name })
    }

    fn request(&self) -> libc::ifreq {
        // SAFETY: ifreq is plain data; all zeroes is a valid value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.name.bytes()) {
            *to = from as libc::c_char;
        }
        request
    }

    fn ioctl(&self, request: &mut libc::ifreq, code: libc::c_ulong, what: &str) -> Result<()> {
        // SAFETY: `request` is a valid ifreq for the whole call, and any pointer in it was set by the
        // caller to a live structure of the size that the command expects.
        let outcome = unsafe { libc::ioctl(self.socket.as_raw_fd(), code as _, std::ptr::from_mut(request)) };
        if outcome < 0 {
            return Err(DriverError::io(format!("{what} on interface {}", self.name), io::Error::last_os_error()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_described() {
        let lo = Interface::open("lo").expect("every namespace has lo");
        assert!(lo.index > 0);
        assert_eq!(lo.mac, [0; 6]);
        assert!(lo.mtu >= 1500);
    }

    #[test]
    fn missing_and_malformed_names_are_refused_with_the_name() {
        let missing = Interface::open("pgn-none").expect_err("no such interface");
        assert!(missing.to_string().contains("pgn-none"), "{missing}");
        assert_eq!(missing.errno(), Some(libc::ENODEV));
        for bad in ["", "a/b", "a-name-that-is-too-long"] {
            assert!(matches!(Interface::open(bad), Err(DriverError::Config(_))), "{bad:?}");
        }
    }
}
