//! What the kernel says about a process: CPU time, memory, children. Linux only.

use anyhow::{Context as _, Result};
use std::fs;
use std::path::Path;

/// Ticks of `utime` and `stime` a second: fixed for user space on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of a process and all that descend from it, user and system.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let mut sum = 0;
    for id in with_descendants(pid)? {
        // A child that ended meanwhile has handed its time to nobody; servers under test keep theirs.
        let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        let stat = parse_stat(&stat).with_context(|| format!("/proc/{id}/stat is not as expected"))?;
        sum += stat.user_ticks + stat.system_ticks;
    }
    Ok(seconds(sum))
}

/// Highest resident memory so far in bytes; `None` once the process is gone.
pub(crate) fn peak_memory_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kib_after(&status, "VmHWM:").map(|kib| kib * 1024)
}

/// Resident memory in bytes, without maps of files below `dir`: what a daemon needs beside its blobs.
pub(crate) fn memory_beside_maps_bytes(pid: u32, dir: &Path) -> Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    Ok(resident_outside(&maps, &dir.to_string_lossy()))
}

/// CPU time of a process in seconds, in its own code and in the kernel's; `None` once the process is gone.
pub(crate) fn user_and_system_seconds(pid: u32) -> Option<(f64, f64)> {
    let stat = parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    Some((seconds(stat.user_ticks), seconds(stat.system_ticks)))
}

/// CPU seconds since the start of the machine that its host gave to others although this machine had work: the sum over
/// all cores. Nothing that is measured meanwhile means much when it is large.
pub(crate) fn stolen_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    Ok(seconds(parse_stolen(&stat).context("/proc/stat is not as expected")?))
}

fn seconds(ticks: u64) -> f64 {
    super::figures::number(ticks) / TICKS_PER_SECOND
}

struct Stat {
    parent: u32,
    user_ticks: u64,
    system_ticks: u64,
}

/// The eighth number of the line for all cores.
fn parse_stolen(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("cpu "))?.split_whitespace().nth(7)?.parse().ok()
}

/// The command's name stands in parentheses and may hold anything, so fields are counted after the last one.
fn parse_stat(stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat { parent: u32::try_from(number(1)?).ok()?, user_ticks: number(11)?, system_ticks: number(12)? })
}

fn with_descendants(pid: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok();
        parents.extend(stat.and_then(|stat| parse_stat(&stat)).map(|stat| (id, stat.parent)));
    }
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    Ok(family)
}

fn resident_outside(maps: &str, dir: &str) -> u64 {
    let mut counted = true;
    let mut sum = 0;
    for line in maps.lines() {
        if let Some(kib) = kib_after(line, "Rss:") {
            sum += if counted { kib * 1024 } else { 0 };
        } else if line.split(' ').next().is_some_and(|range| range.contains('-')) {
            counted = !line.contains(dir);
        }
    }
    sum
}

fn kib_after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_the_last_parenthesis() {
        let stat = "7 (a) b) c) S 3 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 100 1 1";
        let stat = parse_stat(stat).expect("a stat line");
        assert_eq!((stat.parent, stat.user_ticks, stat.system_ticks), (3, 250, 50));
    }

    #[test]
    fn stolen_time_is_the_eighth_number_for_all_cores() {
        let stat = "cpu  1 2 3 4 5 6 7 88 9 10\ncpu0 1 2 3 4 5 6 7 44 9 10\n";
        assert_eq!(parse_stolen(stat), Some(88));
        assert_eq!(parse_stolen("cpu  1 2 3\n"), None);
    }

    #[test]
    fn maps_of_the_store_are_left_out() {
        let maps = "55-66 r-xp 00 08:01 1 /usr/bin/penstock\nRss:  100 kB\nPss: 50 kB\n\
                    77-88 r--s 00 08:01 2 /data/blobs/ab\nRss: 9000 kB\n99-aa rw-p 00 00:00 0\nRss: 20 kB\n";
        assert_eq!(resident_outside(maps, "/data/blobs"), 120 * 1024);
    }

    #[test]
    fn this_process_has_time_and_memory() {
        let own = std::process::id();
        assert!(cpu_seconds(own).expect("readable") >= 0.0);
        assert!(user_and_system_seconds(own).is_some());
        assert!(stolen_seconds().expect("readable") >= 0.0);
        assert!(peak_memory_bytes(own).is_some_and(|bytes| bytes > 1 << 20));
        assert!(memory_beside_maps_bytes(own, Path::new("/no-such-place")).is_ok_and(|bytes| bytes > 1 << 20));
        assert_eq!(peak_memory_bytes(u32::MAX), None);
    }
}
