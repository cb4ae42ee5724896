//! Which API a request path belongs to.

use std::borrow::Cow;

use http::Method;

use crate::{
    api::Api,
    parser::{Parsers, Reading},
};

/// What to do with a request, judged by its method and path alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route<'p> {
    /// The body is read.
    Parsed(Api),
    /// `GET …/v1/models`: answered by the router itself.
    Models,
    /// `GET …/v1/models/{id}`, the id percent-decoded; it may contain slashes.
    Model(Cow<'p, str>),
    /// Forwarded as it is and routed by load: audio, multipart, rerank, tokenize, …
    Unparsed,
    /// No parser takes the body, if there is one.
    Refused,
}

const MODELS: &str = "/v1/models";

/// Classifies a request. `path` may carry a query.
pub fn classify<'p>(parsers: &Parsers, method: &Method, path: &'p str) -> Route<'p> {
    let path = path.split_once(['?', '#']).map_or(path, |(path, _)| path);
    let is_read = *method == Method::POST;
    if (*method == Method::GET || *method == Method::HEAD)
        && let Some(route) = models(path)
    {
        return route;
    }
    match parsers.reading(path) {
        Reading::As(api) if is_read => Route::Parsed(api),
        Reading::As(_) | Reading::Unread => Route::Unparsed,
        Reading::Refused => Route::Refused,
    }
}

fn models(path: &str) -> Option<Route<'_>> {
    let start = path.find(MODELS)?;
    match &path[start + MODELS.len()..] {
        "" | "/" => Some(Route::Models),
        rest => rest.strip_prefix('/').map(|id| Route::Model(percent_decode(id))),
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
    fn bodies_that_are_posted_are_read() {
        let parsers = Parsers::default();
        let chat = "/openai/v1/chat/completions?a=b/completions";
        assert_eq!(classify(&parsers, &Method::POST, chat), Route::Parsed(Api::ChatCompletions));
        assert_eq!(classify(&parsers, &Method::POST, "/v1/audio/transcriptions"), Route::Unparsed);
        assert_eq!(classify(&parsers, &Method::POST, "/v1/models"), Route::Unparsed);
        assert_eq!(classify(&parsers, &Method::GET, "/v1/chat/completions"), Route::Unparsed);
        let strict = Parsers::new([crate::ParserKind::OpenAi]);
        assert_eq!(classify(&strict, &Method::PUT, "/v1/completions"), Route::Unparsed);
        assert_eq!(classify(&strict, &Method::POST, "/v1/audio/transcriptions"), Route::Refused);
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
            assert_eq!(classify(&Parsers::default(), &Method::GET, path), want, "{path}");
        }
        assert_eq!(classify(&Parsers::default(), &Method::DELETE, "/v1/models/x"), Route::Unparsed);
    }
}
