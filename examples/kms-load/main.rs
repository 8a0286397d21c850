//! Asks a key service for data keys and has them decrypted, in turns, as fast as it answers, over some TLS connections that
//! stay open; prints what it measured as one line of JSON. `scripts/bench-kms.sh` runs it against envelopekms and OpenBao.
//!
//! It costs either server the same: requests are made and signed before the clock starts, each once, and answers are looked
//! at no more than they need to be.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot be set up has nothing to measure, and prints what it measured"
)]

mod client;
mod requests;
mod server;
mod signed;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;

use client::Connection;
use requests::{Dialect, Ring};
use server::Usage;

/// What is measured.
#[derive(Debug, Parser)]
struct Arguments {
    /// How the server is asked.
    #[arg(long)]
    dialect: Dialect,
    /// Where it is: HOST:PORT.
    #[arg(long)]
    address: String,
    /// What is trusted (PEM).
    #[arg(long)]
    ca: PathBuf,
    /// The process that serves, whose processor time and memory are read.
    #[arg(long)]
    pid: u32,
    /// The name of the key, which is there.
    #[arg(long, default_value = "bench")]
    key: String,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    #[arg(long, default_value_t = 10_000)]
    requests: usize,
    /// Asked before, and not counted.
    #[arg(long, default_value_t = 1_000)]
    warm_up: usize,
}

fn main() {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(measure(&arguments));
}

async fn measure(arguments: &Arguments) {
    let tls = client::trusting(&arguments.ca);
    let mut connections = Vec::new();
    for _ in 0..arguments.connections {
        connections.push(Connection::open(&tls, &arguments.address).await);
    }
    let ring = Ring::new(arguments)
        .with_ciphertexts(&mut connections[0])
        .await;
    let warm_up = ring.requests(arguments.warm_up);
    let requests = ring.requests(arguments.requests);
    let (connections, _latencies) = run(connections, warm_up).await;
    let before = Usage::of(arguments.pid);
    let begun = Instant::now();
    let (_connections, mut latencies) = run(connections, requests).await;
    let took = begun.elapsed();
    let after = Usage::of(arguments.pid);
    latencies.sort_unstable();
    let count = u32::try_from(latencies.len()).unwrap();
    let percentile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_micros();
    let cpu = after.cpu.saturating_sub(before.cpu);
    println!(
        "{}",
        json!({
            "requests": count,
            "per_second": f64::from(count) / took.as_secs_f64(),
            "p50_us": percentile(50),
            "p99_us": percentile(99),
            "cpu_seconds_per_1000": cpu.as_secs_f64() * 1000.0 / f64::from(count),
            "rss_kib": after.rss_kib,
        })
    );
}

/// Sends all of them over all connections; gives how long each took.
async fn run(
    connections: Vec<Connection>,
    requests: Vec<Vec<u8>>,
) -> (Vec<Connection>, Vec<Duration>) {
    let requests = Arc::new(requests);
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
            tokio::spawn(async move {
                let mut latencies = Vec::with_capacity(requests.len());
                while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let sent = Instant::now();
                    connection.ask(request).await;
                    latencies.push(sent.elapsed());
                }
                (connection, latencies)
            })
        })
        .collect();
    let (mut connections, mut latencies) = (Vec::new(), Vec::new());
    for task in tasks {
        let (connection, own) = task.await.unwrap();
        connections.push(connection);
        latencies.extend(own);
    }
    (connections, latencies)
}
