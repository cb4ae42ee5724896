use std::{
    io,
    sync::{Arc, mpsc},
};

use parking_lot::Mutex;
use tracing_subscriber::{filter::LevelFilter, fmt, layer::SubscriberExt as _};

use super::*;

const FORMATS: [Format; 3] = [Format::Text { ansi: false }, Format::Text { ansi: true }, Format::Json];

fn requests() -> [Answered<'static>; 3] {
    let plain = Answered {
        id: "b5f1c7de-0000-4000-8000-000000000001",
        client: Some("127.0.0.1"),
        method: "POST",
        path: "/v1/chat/completions",
        status: 200,
        endpoint: Some("10.0.0.1:8000"),
        bytes: Some((1234, 56_789)),
        took: Duration::from_micros(12_125),
        reason: None,
    };
    let refused = Answered { client: None, status: 503, endpoint: None, bytes: None, reason: Some("no_endpoints"), ..plain };
    let odd =
        Answered { id: "\"a\\b\" \u{1b}[31m\u{e9}\n", path: "/\u{7f}\u{1f600}\t", took: Duration::from_micros(250), ..plain };
    [plain, refused, odd]
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the rest of the log would write of the same.
fn by_the_formatter_of_everything_else(format: Format, one: &Answered<'_>) -> String {
    let kept = Kept::default();
    let writer = {
        let kept = kept.clone();
        move || kept.clone()
    };
    let event = || {
        let (endpoint, reason) = (one.endpoint.unwrap_or("-"), one.reason.unwrap_or("-"));
        let (method, ms) = (one.method, one.took.as_secs_f64() * 1000.0);
        match (one.client, one.bytes) {
            (Some(client), Some((bytes_in, bytes))) => tracing::info!(
                target: "access", id = one.id, client, %method, path = one.path, status = one.status, endpoint, bytes_in, bytes, ms, reason
            ),
            _ => {
                tracing::info!(target: "access", id = one.id, %method, path = one.path, status = one.status, endpoint, ms, reason)
            }
        }
    };
    match format {
        Format::Text { ansi } => tracing::subscriber::with_default(
            tracing_subscriber::registry().with(fmt::layer().with_writer(writer).with_ansi(ansi)),
            event,
        ),
        Format::Json => tracing::subscriber::with_default(
            tracing_subscriber::registry().with(fmt::layer().json().flatten_event(true).with_writer(writer)),
            event,
        ),
    }
    let written = kept.0.lock().clone();
    String::from_utf8(written).unwrap()
}

/// The line with another time.
fn at(line: &str, time: &str) -> String {
    let begin = line.find("20").unwrap();
    let end = begin + line[begin..].find('Z').unwrap() + 1;
    format!("{}{time}{}", &line[..begin], &line[end..])
}

#[test]
fn lines_look_like_the_rest_of_the_log() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_micros(1_785_585_600_000_070);
    for format in FORMATS {
        for one in requests() {
            let mut line = String::new();
            write(&mut line, format, now, &one);
            let other = at(&by_the_formatter_of_everything_else(format, &one), "2026-08-01T12:00:00.000070Z");
            // The formatter writes no digits that mean nothing.
            let line = line.replace("0.250", "0.25");
            // Control characters of text are the formatter's own business; here they are always escaped.
            let odd = one.id.contains('\n') && format != Format::Json;
            if odd {
                assert!(!line.trim_end().contains(char::is_control) || format == Format::Text { ansi: true }, "{line}");
                assert_eq!(line.matches('\n').count(), 1);
            } else {
                assert_eq!(line, other);
            }
        }
    }
}

#[test]
fn only_who_wants_lines_gets_them() {
    let (send, receive) = mpsc::channel();
    struct Sent(mpsc::Sender<Vec<u8>>);
    impl io::Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (lines, writing) = Lines::start(Sent(send)).unwrap();
    let log = AccessLog::new(Format::Json, lines);
    for (level, wanted) in [(LevelFilter::INFO, true), (LevelFilter::WARN, false)] {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(level), || {
            assert_eq!(log.wanted(), wanted);
            assert!(!AccessLog::default().wanted());
        });
    }
    AccessLog::default().write(&requests()[0]);
    log.write(&requests()[0]);
    drop(writing);
    let written: Vec<u8> = receive.iter().flatten().collect();
    let one: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!((&one["path"], &one["status"], &one["ms"]), (&"/v1/chat/completions".into(), &200.into(), &12.125.into()));
}
