//! The steady state of POST /bid allocates nothing: every allocation of the core's thread is counted while a client sends.
#![expect(unsafe_code, reason = "an allocator that counts has no safe form")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use exchange::config::{Config, Settings};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

struct Counting;

/// The thread whose allocations are counted.
static CORE: AtomicI32 = AtomicI32::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn count() {
    if rustix::thread::gettid().as_raw_nonzero().get() == CORE.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory but an atomic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract; `place` came from `System`.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `realloc`'s contract; `place` came from `System`.
        unsafe { System.realloc(place, layout, bytes) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A server of one core in this process, with everything on and `settings` besides.
fn serve(settings: &[(&str, &str)]) -> (tempfile::TempDir, SocketAddr) {
    let home = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = address.to_string();
    let all = [
        ("data_dir", home.path().to_str().unwrap()),
        ("listen", &listen),
        ("workers", "1"),
        ("log.level", "off"),
    ];
    let all = all.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = Config::from(&Settings::gather(None, vec![], vec![], all.collect()).unwrap()).unwrap();
    // Ends with the process.
    std::thread::spawn(move || exchange::serve::run(&config));
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not listen");
        std::thread::yield_now();
    }
    (home, address)
}

/// The thread of core 0.
fn core_thread() -> i32 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let is_core =
        |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "core-0\n");
    let task = tasks.into_iter().find(is_core).unwrap();
    task.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

/// A client that allocates nothing, either.
struct Client {
    stream: TcpStream,
    address: u32,
    /// Whether head and body are sent apart, as by many HTTP libraries.
    apart: bool,
    statuses: [u64; 6],
}

impl Client {
    /// Asks `n` times, each time for another address of so many.
    fn ask(&mut self, n: u32, addresses: u32) {
        for _ in 0..n {
            self.address = (self.address + 1) % addresses;
            let [_, b, c, d] = self.address.to_be_bytes();
            let (mut request, mut body) = ([0; 512], [0; 128]);
            let mut rest = &mut body[..];
            write!(rest, r#"{{"supply_id":"supply1","ip":"10.{b}.{c}.{d}","country":"US","tmax":200}}"#)
                .unwrap();
            let length = 128 - rest.len();
            let mut rest = &mut request[..];
            write!(rest, "POST /bid HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n").unwrap();
            write!(rest, "content-length: {length}\r\n\r\n").unwrap();
            rest.write_all(&body[..length]).unwrap();
            let (end, head) = (512 - rest.len(), 512 - rest.len() - length);
            let cut = if self.apart { head } else { end };
            self.stream.write_all(&request[..cut]).unwrap();
            if self.apart {
                std::thread::sleep(Duration::from_micros(100));
                self.stream.write_all(&request[cut..end]).unwrap();
            }
            let mut answer = [0; 2048];
            let read = self.stream.read(&mut answer).unwrap();
            assert!(read > 12, "the connection has ended");
            self.statuses[usize::from(answer[9] - b'0')] += 1;
        }
    }
}

#[test]
fn the_steady_state_of_a_bid_allocates_nothing() {
    // No collector is there: one auction in a billion of this core is traced, its first.
    let traces = [("otlp.endpoint", "http://127.0.0.1:1"), ("otlp.sample", "1000000000")];
    let (_home, address) = serve(&[&[("rate_limit.requests", "1000")], &traces[..]].concat());
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut client = Client { stream, address: 0, apart: false, statuses: [0; 6] };
    client.ask(1, 5_000);
    CORE.store(core_thread(), Ordering::Relaxed);
    // Until every buffer is as large as it gets and every address is known.
    client.ask(9_999, 5_000);
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "nothing is counted");
    for (apart, bids) in [(false, 20_000), (true, 2_000)] {
        client.apart = apart;
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        client.ask(bids, 5_000);
        // What a second brings besides: figures for the dashboard, the catalogue's revision.
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert!(allocations < 100, "{allocations} allocations in {bids} bids, apart: {apart}");
    }
    // No bids are an answer, too.
    assert_eq!(client.statuses[2] + client.statuses[4], 32_000, "by hundreds: {:?}", client.statuses);
}
