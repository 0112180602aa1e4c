//! Streams over the loopback: in time, in order, counted to the frame; and the thread behind them.

mod room;

use std::fs;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use room::Seen;
use room::calls::{Far, call, plan};
use voxwire_rtp::random::Random;
use voxwire_rtp::registry::{TOTALS, overview};
use voxwire_rtp::rtcp::{Compound, Packet};
use voxwire_rtp::settings::{Idle, PTIMES_MS};
use voxwire_rtp::statistics::Histogram;
use voxwire_rtp::stream::Peer;

/// The thread that sends is one for the process: what a test says of it would be wrong while another one runs.
static ALONE: Mutex<()> = Mutex::new(());

macro_rules! alone {
    () => {
        let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    };
}

/// Threads of ours in this process.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("the list of threads");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("voxwire-")).count()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("the list of descriptors").count()
}

/// Waits until that holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Audio that is never silence.
fn speech(frames: usize) -> Vec<u8> {
    (0..frames).map(|frame| (frame % 250) as u8).collect()
}

fn check_numbers(packets: &[Seen], frames: u32) {
    for pair in packets.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(frames));
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        assert!(!pair[1].marker);
    }
    assert!(packets[0].marker);
}

#[test]
fn streams_of_every_length_arrive_whole_and_in_order() {
    alone!();
    let calls: Vec<_> = PTIMES_MS
        .into_iter()
        .map(|ptime_ms| {
            let far = Far::new();
            let mut plan = plan(far.peer());
            plan.settings.ptime_ms = ptime_ms;
            let (opened, wakes) = call(plan);
            opened.stream.queue.write(&speech(4800)).expect("an open queue");
            opened.stream.queue.finish().expect("an open queue");
            (ptime_ms, far, opened, wakes)
        })
        .collect();
    for (ptime_ms, far, opened, mut wakes) in calls {
        wakes.read_exact(&mut [0; 8]).expect("the wake of the finish");
        assert_eq!(opened.stream.queue.position().played, 4800);
        let frames = ptime_ms * 8;
        let packets: Vec<Seen> = (0..4800 / frames).map(|_| far.receive()).collect();
        check_numbers(&packets, frames);
        let payload: Vec<u8> = packets.into_iter().flat_map(|packet| packet.payload).collect();
        assert_eq!(payload, speech(4800));
        opened.close();
    }
}

#[test]
fn a_hundred_interruptions_are_counted_to_the_frame() {
    alone!();
    let far = Far::new();
    let mut plan = plan(far.peer());
    plan.settings.ptime_ms = 10;
    let (opened, _wakes) = call(plan);
    let queue = &opened.stream.queue;
    let mut random = Numbers(Random::new(11));
    let mut played = 0;
    let mut packets = Vec::new();
    for _ in 0..100 {
        queue.write(&speech(random.below(3000))).expect("an open queue");
        thread::sleep(Duration::from_micros(random.below(30_000) as u64));
        let last = queue.clear(None, 0, 0);
        assert_eq!(last.played + last.discarded, last.written);
        played += last.played;
        packets.extend(far.drain());
    }
    opened.close();
    packets.extend(far.drain());
    let heard = packets
        .iter()
        .flat_map(|packet| &packet.payload)
        .filter(|&&byte| byte != 0xFF)
        .count();
    assert_eq!(heard as u64, played);
    check_numbers(&packets, 80);
}

struct Numbers(Random);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0.draw() as usize % limit
    }
}

#[test]
fn a_host_that_never_lets_go_of_the_queue_delays_nothing_for_good() {
    alone!();
    let far = Far::new();
    let mut plan = plan(far.peer());
    plan.settings.ptime_ms = 10;
    let (opened, mut wakes) = call(plan);
    let queue = &opened.stream.queue;
    queue.write(&speech(4000)).expect("an open queue");
    queue.finish().expect("an open queue");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let position = queue.position();
                    assert!(position.played <= position.written);
                }
            });
        }
        wakes.read_exact(&mut [0; 8]).expect("the wake of the finish");
        over.store(true, Ordering::Relaxed);
    });
    let packets: Vec<Seen> = (0..50).map(|_| far.receive()).collect();
    let payload: Vec<u8> = packets.iter().flat_map(|packet| packet.payload.clone()).collect();
    assert_eq!(payload, speech(4000));
    opened.close();
}

#[test]
fn a_pause_holds_and_goes_on() {
    alone!();
    let far = Far::new();
    let mut plan = plan(far.peer());
    plan.settings.idle = Idle::Gap;
    let (opened, mut wakes) = call(plan);
    let stream = &opened.stream;
    stream.queue.write(&speech(3200)).expect("an open queue");
    stream.queue.finish().expect("an open queue");
    let mut packets = vec![far.receive()];
    stream.pause(true);
    // One more may have been on its way.
    thread::sleep(Duration::from_millis(60));
    packets.extend(far.drain());
    let held = stream.queue.position().played;
    assert!(held < 3200);
    thread::sleep(Duration::from_millis(60));
    assert_eq!(stream.queue.position().played, held);
    stream.pause(false);
    wakes.read_exact(&mut [0; 8]).expect("the wake of the finish");
    packets.extend((packets.len()..20).map(|_| far.receive()));
    let payload: Vec<u8> = packets.iter().flat_map(|packet| packet.payload.clone()).collect();
    assert_eq!(payload, speech(3200));
    assert_eq!(packets.iter().filter(|packet| packet.marker).count(), 2);
    opened.close();
}

#[test]
fn a_goodbye_follows_the_last_packet() {
    alone!();
    let far = Far::new();
    let (opened, _wakes) = call(plan(far.peer()));
    opened.stream.queue.write(&speech(1600)).expect("an open queue");
    far.receive();
    let closing = Instant::now();
    opened.close();
    assert!(closing.elapsed() >= Duration::from_millis(250));
    let mut room = [0; 1500];
    let length = far.control.recv(&mut room).expect("a goodbye in time");
    let compound = Compound::parse(&room[..length]).expect("a compound packet");
    let mut packets = compound.packets();
    let Some(Packet::SenderReport { info, .. }) = packets.next() else {
        panic!("no sender report");
    };
    assert_eq!(info.packets as usize, 1 + far.drain().len());
    assert!(packets.any(|packet| matches!(packet, Packet::Goodbye(_))));
}

#[test]
fn the_thread_lives_while_there_are_streams_and_nothing_is_left() {
    alone!();
    let far = Far::new();
    call(plan(far.peer())).0.close();
    let (threads_before, descriptors_before) = (threads(), descriptors());
    assert_eq!(threads_before, 0);
    let calls: Vec<_> = (0..50).map(|_| call(plan(far.peer())).0).collect();
    assert_eq!(overview().0, 50);
    // A thread takes its name when it first runs.
    until("one sends, one listens", || threads() == 2);
    for opened in calls {
        opened.close();
    }
    assert_eq!((threads(), overview().0), (0, 0));
    assert_eq!(descriptors(), descriptors_before);
}

#[test]
fn who_has_said_nothing_leaves_at_once() {
    alone!();
    let far = Far::new();
    let started = Instant::now();
    for _ in 0..200 {
        call(plan(far.peer())).0.close();
    }
    assert!(started.elapsed() < Duration::from_secs(10), "no goodbye is waited for");
    far.control.set_nonblocking(true).expect("a socket that does not block");
    assert!(far.control.recv(&mut [0; 1500]).is_err());
}

#[test]
fn a_stream_that_is_dropped_ends_by_itself() {
    alone!();
    let far = Far::new();
    let (opened, _wakes) = call(plan(far.peer()));
    opened.stream.queue.write(&speech(160)).expect("an open queue");
    far.receive();
    drop(opened);
    far.control.recv(&mut [0; 1500]).expect("a goodbye in time");
    until("the thread ends", || threads() == 0);
    // And another one begins where the next stream does.
    let (opened, _wakes) = call(plan(far.peer()));
    opened.stream.queue.write(&speech(160)).expect("an open queue");
    far.receive();
    opened.close();
    assert_eq!(threads(), 0);
}

#[test]
fn a_stream_of_which_nothing_can_be_sent_is_lost() {
    alone!();
    let far = Far::new();
    // The system sends nothing to port 0.
    let mut nowhere = far.peer().rtp;
    nowhere.set_port(0);
    let (opened, mut wakes) = call(plan(Peer {
        rtp: nowhere,
        rtcp: None,
    }));
    let queue = &opened.stream.queue;
    queue.write(&speech(3200)).expect("an open queue");
    wakes.read_exact(&mut [0; 8]).expect("the wake of the loss");
    let refusal = queue.write(&[]).expect_err("a lost queue");
    assert_eq!(
        refusal.to_string(),
        "sink 'rtp:x' was lost: nothing could be sent for a second, invalid argument"
    );
    let position = queue.position();
    assert!(position.bound >= 3200 && position.played == 3200, "{position:?}");
    assert!(opened.stream.counters.unsent.get() >= 50);
    assert!(TOTALS.unsent.get() >= opened.stream.counters.unsent.get());
    assert_eq!(opened.stream.counters.packets.get(), 0);
    opened.close();
}

fn sum(histogram: &Histogram) -> u64 {
    histogram.counts().map(|(_, count)| count).sum()
}

#[test]
fn the_whole_is_counted_too() {
    alone!();
    let before = (
        TOTALS.packets.get(),
        sum(&TOTALS.delays),
        sum(&TOTALS.variations),
        TOTALS.xruns.get(),
    );
    let far = Far::new();
    let (opened, _wakes) = call(plan(far.peer()));
    opened.stream.queue.write(&speech(1600)).expect("an open queue");
    for _ in 0..10 {
        far.receive();
    }
    until("audio runs dry", || opened.stream.queue.position().xruns == 1);
    opened.close();
    assert!(TOTALS.packets.get() - before.0 >= 10);
    assert!(sum(&TOTALS.delays) - before.1 >= 10);
    assert!(sum(&TOTALS.variations) - before.2 >= 9);
    assert_eq!(TOTALS.xruns.get() - before.3, 1, "no finish was given");
    assert!(TOTALS.cpu_ns.get() > 0);
}
