//! Lines on their way to wherever the log goes.

use std::{
    io, mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

/// What may wait to be written; what comes when so much waits is dropped and counted, so that a reader of the log that stands still
/// stops nobody.
const MOST_WAITING_BYTES: usize = 8 << 20;
/// Memory that is kept for what waits.
const KEPT_BYTES: usize = 256 << 10;
/// After a batch was written, lines gather for so long before the next one is.
const GATHER: Duration = Duration::from_millis(10);
/// The end waits for so long for what is left to be written.
const END: Duration = Duration::from_secs(2);

/// Takes lines that are written by a thread of their own. Clones write to the same place, and each line stays whole.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    shared: Arc<Shared>,
}

/// Until it is dropped, [`Lines`] are written; then what is left is, and no more is taken.
#[derive(Debug)]
pub struct Writing {
    lines: Lines,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Tells the writer that there is something, after a time of nothing, or that it is the end.
    wake: Condvar,
    /// Tells that everything is written.
    ended: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The writer wants to be woken.
    idle: bool,
    /// Nothing more is taken.
    closed: bool,
    /// The writer has written everything.
    ended: bool,
}

impl Lines {
    /// Starts to write to `out`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(out: impl io::Write + Send + 'static) -> io::Result<(Self, Writing)> {
        let lines = Self::default();
        let writer = lines.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.write(out))?;
        Ok((lines.clone(), Writing { lines }))
    }

    /// Takes whole lines, each with its end.
    pub fn push(&self, line: &[u8]) {
        let mut waiting = self.shared.waiting.lock();
        if waiting.closed || waiting.bytes.len() + line.len() > MOST_WAITING_BYTES {
            drop(waiting);
            self.shared.dropped.fetch_add(1, Relaxed);
            return;
        }
        waiting.bytes.extend_from_slice(line);
        if mem::take(&mut waiting.idle) {
            drop(waiting);
            self.shared.wake.notify_one();
        }
    }

    /// How often something was dropped because too much waited, or because it came after the end.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }

    fn write(&self, mut out: impl io::Write) {
        let mut batch = Vec::new();
        loop {
            let mut waiting = self.shared.waiting.lock();
            while waiting.bytes.is_empty() && !waiting.closed {
                waiting.idle = true;
                self.shared.wake.wait(&mut waiting);
            }
            waiting.idle = false;
            mem::swap(&mut batch, &mut waiting.bytes);
            if batch.is_empty() {
                waiting.ended = true;
                self.shared.ended.notify_all();
                return;
            }
            drop(waiting);
            // Nobody could be told that the log cannot be written.
            let _ = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
            let mut waiting = self.shared.waiting.lock();
            if !waiting.closed {
                self.shared.wake.wait_for(&mut waiting, GATHER);
            }
        }
    }
}

/// For formatters that write a line in one call.
impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let shared = &self.lines.shared;
        let mut waiting = shared.waiting.lock();
        waiting.closed = true;
        shared.wake.notify_all();
        shared.ended.wait_while_for(&mut waiting, |waiting| !waiting.ended, END);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Hands over every write, and waits until it was taken.
    struct Taken(SyncSender<String>);

    impl io::Write for Taken {
        fn write(&mut self, batch: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8(batch.to_vec()).unwrap()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(batch.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start() -> (Lines, Writing, Receiver<String>) {
        let (send, receive) = sync_channel(0);
        let (lines, writing) = Lines::start(Taken(send)).unwrap();
        (lines, writing, receive)
    }

    #[test]
    fn every_line_is_written_whole_and_those_that_wait_at_once() {
        let (lines, writing, receive) = start();
        lines.push(b"first\n");
        // The writer stands until its batch is taken: what comes meanwhile is one batch.
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let lines = lines.clone();
                thread::spawn(move || (0..1000).for_each(|line| lines.push(format!("{writer} {line}\n").as_bytes())))
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let mut batches = Vec::new();
        let mut written = 0;
        while written < 4001 {
            let batch = receive.recv().unwrap();
            written += batch.lines().count();
            batches.push(batch);
        }
        assert!(batches.len() <= 2, "{} batches", batches.len());
        let all = batches.concat();
        for writer in 0..4 {
            let own: Vec<String> =
                all.lines().filter(|line| line.starts_with(&format!("{writer} "))).map(str::to_owned).collect();
            assert!(own.iter().enumerate().all(|(at, line)| *line == format!("{writer} {at}")), "{writer} {}", own.len());
        }
        assert_eq!(lines.dropped(), 0);
        drop(writing);
    }

    #[test]
    fn nothing_is_lost_at_the_end_and_nothing_taken_after_it() {
        let (lines, writing, receive) = start();
        let reader = thread::spawn(move || receive.iter().collect::<String>());
        for line in 0..10_000 {
            lines.push(format!("{line}\n").as_bytes());
        }
        drop(writing);
        lines.push(b"late\n");
        assert_eq!(lines.dropped(), 1);
        drop(lines);
        let wanted: String = (0..10_000).map(|line| format!("{line}\n")).collect();
        assert_eq!(reader.join().unwrap(), wanted);
    }

    #[test]
    fn who_reads_nothing_costs_bounded_memory_and_stops_nobody() {
        let (lines, writing, receive) = start();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            lines.push(&line);
        }
        assert!(lines.dropped() >= 100 - 2 * 8, "{}", lines.dropped());
        // Whoever goes away ends the writing.
        drop(receive);
        drop(writing);
    }
}
