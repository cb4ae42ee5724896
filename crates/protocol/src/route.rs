//! Which API a request path belongs to.

use std::borrow::Cow;

use http::Method;

/// An API whose request bodies are scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Api {
    /// `POST …/chat/completions`
    #[default]
    ChatCompletions,
    /// `POST …/completions`
    Completions,
    /// `POST …/embeddings`
    Embeddings,
    /// `POST …/responses`
    Responses,
}

impl Api {
    /// The name used in error messages, for example `chat completions`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
        }
    }

    /// The field that carries the prompt.
    pub const fn prompt_field(self) -> &'static str {
        match self {
            Self::ChatCompletions => "messages",
            Self::Completions => "prompt",
            Self::Embeddings | Self::Responses => "input",
        }
    }
}

/// What to do with a request, judged by its method and path alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route<'p> {
    /// The body is scanned.
    Parsed(Api),
    /// `GET …/v1/models`: answered by the router itself.
    Models,
    /// `GET …/v1/models/{id}`, the id percent-decoded; it may contain slashes.
    Model(Cow<'p, str>),
    /// Forwarded as it is and routed by load: audio, multipart, rerank, tokenize, images, …
    Unparsed,
}

/// Longest suffix first: `completions` is a suffix of `chat/completions`.
const PARSED: [(&str, Api); 4] = [
    ("chat/completions", Api::ChatCompletions),
    ("completions", Api::Completions),
    ("embeddings", Api::Embeddings),
    ("responses", Api::Responses),
];

const MODELS: &str = "/v1/models";

/// Classifies a request. `path` may carry a query. Suffixes match at segment borders only, so a
/// prefix such as `/openai` is fine and `/v1/xcompletions` is not a completion.
pub fn classify<'p>(method: &Method, path: &'p str) -> Route<'p> {
    let path = path.split_once(['?', '#']).map_or(path, |(path, _)| path);
    if method == Method::POST {
        return PARSED
            .iter()
            .find(|(suffix, _)| path.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('/')))
            .map_or(Route::Unparsed, |&(_, api)| Route::Parsed(api));
    }
    if method == Method::GET || method == Method::HEAD {
        return models(path);
    }
    Route::Unparsed
}

fn models(path: &str) -> Route<'_> {
    let Some(start) = path.find(MODELS) else {
        return Route::Unparsed;
    };
    match &path[start + MODELS.len()..] {
        "" | "/" => Route::Models,
        rest => match rest.strip_prefix('/') {
            Some(id) => Route::Model(percent_decode(id)),
            None => Route::Unparsed,
        },
    }
}

/// Bytes that are not a valid `%XX` stay as they are; invalid UTF-8 becomes U+FFFD.
fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |i: usize| bytes.get(at + i).and_then(|&b| char::from(b).to_digit(16));
        match (byte, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsed_paths_match_at_segment_borders() {
        for (path, want) in [
            ("/v1/chat/completions", Route::Parsed(Api::ChatCompletions)),
            ("/openai/v1/chat/completions?a=b/completions", Route::Parsed(Api::ChatCompletions)),
            ("/v1/completions", Route::Parsed(Api::Completions)),
            ("/completions", Route::Parsed(Api::Completions)),
            ("completions", Route::Parsed(Api::Completions)),
            ("/v1/embeddings", Route::Parsed(Api::Embeddings)),
            ("/v1/responses", Route::Parsed(Api::Responses)),
            ("/v1/xcompletions", Route::Unparsed),
            ("/v1/xchat/completions", Route::Parsed(Api::Completions)),
            ("/v1/chat/completions/x", Route::Unparsed),
            ("/v1/audio/transcriptions", Route::Unparsed),
            ("/rerank?x=/v1/completions", Route::Unparsed),
            ("/v1/models", Route::Unparsed),
            ("", Route::Unparsed),
        ] {
            assert_eq!(classify(&Method::POST, path), want, "{path}");
        }
        assert_eq!(classify(&Method::GET, "/v1/chat/completions"), Route::Unparsed);
    }

    #[test]
    fn models_paths() {
        for (path, want) in [
            ("/v1/models", Route::Models),
            ("/openai/v1/models?limit=3", Route::Models),
            ("/v1/models/", Route::Models),
            ("/v1/models/meta-llama/Llama-3.1-8B", Route::Model("meta-llama/Llama-3.1-8B".into())),
            ("/v1/models/a%2Fb%zz%4", Route::Model("a/b%zz%4".into())),
            ("/v1/modelsx", Route::Unparsed),
            ("/models", Route::Unparsed),
        ] {
            assert_eq!(classify(&Method::GET, path), want, "{path}");
        }
        assert_eq!(classify(&Method::DELETE, "/v1/models/x"), Route::Unparsed);
    }
}
