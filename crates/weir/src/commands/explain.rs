//! `weir explain`: a decision as a table, out of a running router or out of a file.

mod state;

use std::{fmt::Write as _, time::Duration};

use weir_plan::Registry;
use weir_pool::EndpointUrl;
use weir_router::Explained;

use crate::{cli::Explain, failure::Failure, http_client};

const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(arguments: Explain, registry: &Registry) -> Result<String, Failure> {
    let Some(id) = &arguments.id else { return state::run(&arguments, registry) };
    let admin: EndpointUrl = arguments.admin.parse().map_err(|error| Failure::usage(format!("--admin: {error}")))?;
    let path = format!("/debug/explain/{}", encode(id));
    let answer = http_client::get(&admin, &path, PATIENCE).await.map_err(|error| {
        Failure::new(format!("{}: {error}", arguments.admin))
            .with_help("is weir running there? --admin takes the address that it prints as `admin:`")
    })?;
    let (status, body) = (answer.status, answer.body);
    if status == 404 {
        return Err(Failure::new(format!("no decision is kept for request `{id}`"))
            .with_help("the id is the x-request-id of the answer; only the last decisions are kept (explain.maxBytes)"));
    }
    if status != 200 {
        return Err(Failure::new(format!("{}{path} answered {status}", arguments.admin)));
    }
    if arguments.json {
        return Ok(format!("{}\n", String::from_utf8_lossy(&body)));
    }
    let decisions: Vec<Explained> = serde_json::from_slice(&body)
        .map_err(|error| Failure::new(format!("{} answered something else than decisions: {error}", arguments.admin)))?;
    Ok(decisions.iter().map(table).collect::<Vec<_>>().join("\n"))
}

/// Percent-encodes what a path segment cannot hold.
fn encode(id: &str) -> String {
    id.bytes().fold(String::with_capacity(id.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

fn table(one: &Explained) -> String {
    let mut out = format!("request {}  pool {}  profile {}  attempt {}\n", one.id, one.pool, one.profile, one.attempt);
    let _ = write!(out, "decided in {} µs after {} µs in queue", one.decision_us, one.queue_us);
    if let Some(tokens) = one.prompt_tokens {
        let _ = write!(out, "; prompt ≈ {tokens} tokens");
    }
    if one.prompt_blocks > 0 {
        let _ = write!(out, ", {} blocks of {}", one.prompt_blocks, one.block_size_tokens);
    }
    let _ = writeln!(out, "; {} of {} endpoints scored", one.scored, one.known);
    if one.priority != 0 || one.objective.is_some() {
        let by = one.objective.as_ref().map_or_else(String::new, |name| format!(" by the objective {name}"));
        let _ = writeln!(out, "priority {}{by}", one.priority);
    }
    if let Some(model) = &one.served_model {
        let by = one.rewrite_rule.as_ref().map_or_else(|| "the client's header".to_owned(), |rule| format!("rewrite {rule}"));
        let _ = writeln!(out, "served by model {model}, chosen by {by}");
    }
    if let Some(outcome) = &one.outcome {
        let first = outcome
            .first_byte_us
            .map_or_else(|| "no byte".to_owned(), |us| format!("first byte after {:.1} ms", us as f64 / 1e3));
        let _ = write!(out, "answered {} ({first}, {:.1} ms in all)", outcome.status, outcome.total_us as f64 / 1e3);
        let _ = writeln!(out, "{}", outcome.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}")));
    }
    out.push('\n');

    let mut rows = vec![vec![String::new(), "endpoint".to_owned(), "total".to_owned()]];
    rows[0].extend(one.scorers.iter().map(|scorer| format!("{} ×{}", scorer.name, scorer.weight)));
    rows[0].extend(["waiting", "running", "kv", "in flight", "prefix", "age"].map(str::to_owned));
    for candidate in &one.candidates {
        let mark = if candidate.chosen {
            "→"
        } else if candidate.runner_up {
            "2"
        } else {
            ""
        };
        let mut row =
            vec![mark.to_owned(), format!("{} {}", candidate.endpoint, candidate.address), format!("{:.3}", candidate.total)];
        row.extend(candidate.scores.iter().map(|score| format!("{score:.3}")));
        let age = match candidate.age_ms {
            None => "never".to_owned(),
            Some(age) => format!("{age} ms{}", if candidate.stale { " STALE" } else { "" }),
        };
        row.extend([
            candidate.waiting.to_string(),
            candidate.running.to_string(),
            format!("{:.1} %", candidate.kv_usage * 100.0),
            candidate.inflight_requests.to_string(),
            format!("{}/{}", candidate.matched_blocks, one.prompt_blocks),
            age,
        ]);
        rows.push(row);
    }
    align(&rows, &mut out);
    out
}

fn align(rows: &[Vec<String>], out: &mut String) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            if column < 2 {
                let _ = write!(line, "{cell}{pad}  ");
            } else {
                let _ = write!(line, "{pad}{cell}  ");
            }
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_ids_are_encoded() {
        let mut out = String::new();
        align(&[vec!["".into(), "a".into(), "total".into()], vec!["→".into(), "bb".into(), "1".into()]], &mut out);
        assert_eq!(out, "   a   total\n→  bb      1\n");
        assert_eq!(encode("a/b c"), "a%2Fb%20c");
    }
}
