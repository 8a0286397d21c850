//! What the server's process has used, as the kernel counts it (proc(5)).

use std::time::Duration;

/// `USER_HZ` is 100 on all machines that either server runs on.
const TICK_MILLIS: u64 = 10;

/// Processor time and memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) rss_kib: u64,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // The name, in parentheses, may have spaces in it; `utime` and `stime` are the 12th and 13th field behind it.
        let (_name, fields) = stat.rsplit_once(')').unwrap();
        let fields: Vec<_> = fields.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let rss = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next());
        Self {
            cpu: Duration::from_millis((ticks(11) + ticks(12)) * TICK_MILLIS),
            rss_kib: rss.unwrap().parse().unwrap(),
        }
    }
}
