//! Which CPUs devices interrupt, and which the system keeps free.

use std::collections::BTreeMap;

/// Interrupts that devices have raised on each CPU since the machine was started.
pub fn of_devices() -> BTreeMap<usize, u64> {
    std::fs::read_to_string("/proc/interrupts").map(|text| count(&text)).unwrap_or_default()
}

/// CPUs that the kernel was told to leave alone (`isolcpus`).
pub fn isolated() -> Vec<usize> {
    std::fs::read_to_string("/sys/devices/system/cpu/isolated").map(|text| cpus(&text)).unwrap_or_default()
}

/// Adds up the lines of `/proc/interrupts` that belong to devices: those whose name is a number. The first line names
/// the CPUs.
fn count(text: &str) -> BTreeMap<usize, u64> {
    let mut lines = text.lines();
    let number_of = |name: &str| name.strip_prefix("CPU").and_then(|number| number.parse::<usize>().ok());
    let cpus: Vec<usize> = lines.next().unwrap_or_default().split_whitespace().filter_map(number_of).collect();
    let mut sums: BTreeMap<usize, u64> = cpus.iter().map(|&cpu| (cpu, 0)).collect();
    for line in lines {
        let Some((name, rest)) = line.split_once(':') else { continue };
        if name.trim().parse::<u32>().is_err() {
            continue;
        }
        for (cpu, text) in cpus.iter().zip(rest.split_whitespace()) {
            let Ok(count) = text.parse::<u64>() else { break };
            if let Some(sum) = sums.get_mut(cpu) {
                *sum += count;
            }
        }
    }
    sums
}

/// Reads a list such as `1-3,7`.
fn cpus(text: &str) -> Vec<usize> {
    let mut all = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            all.extend(first..=last);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_devices_count() {
        let text = "           CPU0       CPU2\n  24:          1          20  IO-APIC   5-edge      disk\n \
                    36:          0       7 PCI-MSIX 1-edge      net\nLOC:   38986889    4192366   Local timer interrupts\nERR:          0\n";
        assert_eq!(count(text), BTreeMap::from([(0, 1), (2, 27)]));
        assert_eq!(count(""), BTreeMap::new());
        assert!(!of_devices().is_empty());
    }

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpus("1-3,7\n"), [1, 2, 3, 7]);
        assert_eq!(cpus("\n"), [0; 0]);
    }
}
