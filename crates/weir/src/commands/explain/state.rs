//! `weir explain --state`: where a request would go, by a file.

use std::{fmt::Write as _, path::Path};

use weir_api::{Diagnostics, EndpointPickerConfig, Sources};
use weir_plan::{CompileOptions, Registry, compile};
use weir_router::{Case, ProfileVerdict, Verdict};

use super::align;
use crate::{cli::Explain, commands::document::Document, failure::Failure};

/// Decides every file; all of them are shown, also if one is not as expected.
pub(super) fn run(arguments: &Explain, registry: &Registry) -> Result<String, Failure> {
    let mut shown = Vec::new();
    let mut unmet = String::new();
    for path in &arguments.state {
        let verdict = decide(path, arguments, registry)?;
        for one in &verdict.unmet {
            let _ = writeln!(unmet, "error: {}: {one}", path.display());
        }
        shown.push(verdict);
    }
    let out = match (arguments.json, shown.as_slice()) {
        (true, [one]) => json(one)?,
        (true, all) => json(all)?,
        (false, all) => all.iter().map(text).collect::<Vec<_>>().join("\n"),
    };
    if unmet.is_empty() {
        return Ok(out);
    }
    Err(Failure::new(format!("{unmet}\n{out}")))
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
    Ok(text + "\n")
}

fn decide(path: &Path, arguments: &Explain, registry: &Registry) -> Result<Verdict, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let own = Sources::single(path.display().to_string(), text);
    let rendered = |notes: Diagnostics| Failure::new(notes.render(&own));
    let case = Case::parse(own.get(0).map_or("", |source| source.text.as_str())).map_err(rendered)?;
    let plan = match &arguments.config {
        Some(config) => {
            let document = Document::read(config)?;
            compile(scheduling(&document, arguments.pool.as_deref())?, registry, CompileOptions::default())
                .map_err(|notes| Failure::new(notes.render(document.sources())))?
        }
        None => {
            let builtin = EndpointPickerConfig::builtin();
            compile(case.config.as_ref().unwrap_or(&builtin), registry, CompileOptions::default()).map_err(rendered)?
        }
    };
    case.run(&plan).map_err(rendered)
}

fn scheduling<'d>(document: &'d Document, pool: Option<&str>) -> Result<&'d EndpointPickerConfig, Failure> {
    let all = document.schedulings();
    let names = || all.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match (pool, all.as_slice()) {
        (None, [(_, only)]) => Ok(only),
        (None, _) => {
            Err(Failure::usage(format!("the configuration has several pools: {}", names())).with_help("choose one with --pool"))
        }
        (Some(pool), all) => all
            .iter()
            .find(|(name, _)| *name == pool)
            .map(|(_, found)| *found)
            .ok_or_else(|| Failure::usage(format!("no pool is named `{pool}`; there are {}", names()))),
    }
}

fn text(verdict: &Verdict) -> String {
    let mut out = match (&verdict.picked, &verdict.refused) {
        (Some(endpoint), _) => {
            format!("picked {endpoint}  by profile {}", verdict.profile.as_deref().unwrap_or_default())
        }
        (None, Some(refused)) => format!("refused with {}, {}: {}", refused.status, refused.reason, refused.message),
        (None, None) => String::new(),
    };
    if let Some(tokens) = verdict.prompt_tokens {
        let _ = write!(out, "; prompt ≈ {tokens} tokens");
    }
    out.push('\n');
    for (name, value) in &verdict.request_headers {
        let _ = writeln!(out, "request header {name}: {value}");
    }
    for (name, value) in &verdict.response_headers {
        let _ = writeln!(out, "response header {name}: {value}");
    }
    for profile in &verdict.profiles {
        profile_text(profile, &mut out);
    }
    out
}

fn profile_text(profile: &ProfileVerdict, out: &mut String) {
    let _ = writeln!(out, "\nprofile {}{}", profile.name, if profile.ran { "" } else { ": not run" });
    if !profile.ran {
        return;
    }
    for filter in &profile.filters {
        let all = filter.kept.len() + filter.removed.len();
        let _ = write!(out, "filter {}: keeps {} of {all}", filter.name, filter.kept.len());
        let _ = writeln!(
            out,
            "{}",
            if filter.removed.is_empty() { String::new() } else { format!(", without {}", filter.removed.join(" ")) }
        );
    }
    let mut rows = vec![vec![String::new(), "endpoint".to_owned(), "total".to_owned()]];
    rows[0].extend(profile.scorers.iter().map(|scorer| format!("{} ×{}", scorer.name, scorer.weight)));
    for candidate in &profile.candidates {
        let place = profile.targets.iter().position(|one| *one == candidate.endpoint);
        let mark = match place {
            Some(0) => "→".to_owned(),
            Some(place) => (place + 1).to_string(),
            None => String::new(),
        };
        let mut row = vec![mark, candidate.endpoint.clone(), format!("{:.6}", candidate.total)];
        row.extend(candidate.scores.iter().map(|score| format!("{score:.6}")));
        rows.push(row);
    }
    align(&rows, out);
}
