//! One container's line.

use cri_api::isula::v1::ContainerStats;

use crate::text::size;

/// For unknown numbers.
const NOTHING: &str = "--";

pub(super) fn title() -> String {
    line(["CONTAINER", "CPU %", "MEM USAGE / LIMIT", "MEM %", "BLOCK I / O", "PIDS"].map(str::to_owned))
}

pub(super) fn shown(of: &ContainerStats) -> String {
    let bytes = |count: Option<u64>| count.map_or_else(|| NOTHING.to_owned(), size::shown);
    let percent = |share: Option<f64>| share.map_or_else(|| NOTHING.to_owned(), |share| format!("{share:.2}"));
    let used = of.memory_usage.zip(of.memory_limit).filter(|(_, limit)| *limit > 0);
    line([
        of.id.get(..12).unwrap_or(&of.id).to_owned(),
        percent(of.cpu_percent),
        format!("{} / {}", bytes(of.memory_usage), bytes(of.memory_limit)),
        percent(used.map(|(usage, limit)| usage as f64 / limit as f64 * 100.0)),
        format!("{} / {}", bytes(of.block_read), bytes(of.block_write)),
        number(of.pids),
    ])
}

fn line([id, cpu, memory, share, block, pids]: [String; 6]) -> String {
    format!("{id:<16} {cpu:<10} {memory:<26} {share:<10} {block:<26} {pids}")
}

fn number(of: Option<u64>) -> String {
    of.map_or_else(|| NOTHING.to_owned(), |number| number.to_string())
}

pub(super) fn original_title() -> String {
    let names = counters(&ContainerStats::default()).map(|(name, _)| name);
    format!("CONTAINER\t{}", names.join("\t"))
}

pub(super) fn original(of: &ContainerStats) -> String {
    let numbers = counters(of).map(|(_, value)| number(value));
    format!("{}\t{}", of.id.get(..12).unwrap_or(&of.id), numbers.join("\t"))
}

fn counters(of: &ContainerStats) -> [(&'static str, Option<u64>); 18] {
    [
        ("CPU_USAGE", of.cpu_usage),
        ("CPU_USER", of.cpu_user),
        ("CPU_SYSTEM", of.cpu_system),
        ("MEM_USAGE", of.memory_usage),
        ("MEM_LIMIT", of.memory_limit),
        ("MEM_TOTAL", of.memory_total),
        ("MEM_CACHE", of.memory_cache),
        ("MEM_RSS", of.memory_rss),
        ("SWAP", of.swap_usage),
        ("KERNEL_MEM", of.kernel_memory),
        ("PAGE_FAULTS", of.page_faults),
        ("MAJOR_FAULTS", of.major_page_faults),
        ("BLOCK_READ", of.block_read),
        ("BLOCK_WRITE", of.block_write),
        ("NET_RECEIVED", of.net_received),
        ("NET_SENT", of.net_sent),
        ("PIDS", of.pids),
        ("PIDS_LIMIT", of.pids_limit),
    ]
}
