//! `GET /api/v1/explain` for one request, `POST /api/v1/explain` for many.
//!
//! # Limits
//! Explaining costs what looking through the routes of a host costs, so the number of questions of a call is bounded, and
//! they are answered away from the threads that streams live on.

use std::sync::Arc;

use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use super::{Answer, json, text};
use crate::ads::Hub;
use crate::explain::{Asked, Explained, QUESTIONS_MAX};

/// A thousand questions with a few headers each.
const BODY_BYTES_MAX: usize = 2 << 20;

/// One request: `from`, `method`, `url`, `listener`, and `header` any number of times.
pub(super) async fn one(query: &str, hub: &Arc<Hub>) -> Answer {
    let asked = match parse(query) {
        Ok(asked) => asked,
        Err(why) => return text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    };
    match ask(vec![asked], hub).await.map(|mut answers| answers.pop()) {
        Ok(Some(Explained::Explanation(explanation))) => json(&explanation),
        Ok(Some(Explained::Error(why))) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        Ok(None) => text(StatusCode::INTERNAL_SERVER_ERROR, "no answer\n"),
        Err(answer) => answer,
    }
}

/// A JSON array of requests; the answer is an array in the same order.
pub(super) async fn many(body: Incoming, hub: &Arc<Hub>) -> Answer {
    let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return text(StatusCode::PAYLOAD_TOO_LARGE, format!("{error}; at most {BODY_BYTES_MAX} bytes\n")),
    };
    let asked: Vec<Asked> = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("not an array of requests: {error}\n")),
    };
    if asked.len() > QUESTIONS_MAX {
        return text(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {QUESTIONS_MAX} requests in one call\n"));
    }
    match ask(asked, hub).await {
        Ok(answers) => json(&answers),
        Err(answer) => answer,
    }
}

async fn ask(asked: Vec<Asked>, hub: &Arc<Hub>) -> Result<Vec<Explained>, Answer> {
    let hub = hub.clone();
    let answers = tokio::task::spawn_blocking(move || hub.explain(&asked)).await;
    answers.map_err(|error| text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))
}

fn parse(query: &str) -> Result<Asked, String> {
    let mut asked = Asked::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value).ok_or_else(|| format!("{key} is not percent-encoded UTF-8"))?;
        match key {
            "from" => asked.from = value,
            "method" => asked.method = Some(value),
            "url" => asked.url = value,
            "listener" => asked.listener = Some(value),
            "header" => asked.headers.push(value),
            _ => return Err(format!("{key} is not one of from, method, url, listener, header")),
        }
    }
    if asked.from.is_empty() || asked.url.is_empty() {
        return Err("from and url are needed: /api/v1/explain?from=default/web&url=http://reviews:9080/".to_owned());
    }
    Ok(asked)
}

/// Percent-encoding of a query; a plus sign is a space.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The opposite, for whoever asks.
pub(crate) fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_to_itself() {
        for text in ["", "http://reviews:9080/x?q=1&a=b", "end-user: jason+1", "ä %"] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        }
        assert_eq!(decode("%4"), None);
        assert_eq!(decode("%ff"), None);
    }

    #[test]
    fn a_question_needs_who_asks_and_for_what() {
        assert!(parse("from=default/web").is_err());
        assert!(parse("from=default/web&url=http://a/&colour=red").is_err_and(|why| why.contains("colour")));
        let asked = parse("from=default/web&url=http%3A%2F%2Fa%2F&header=a:b&header=c:d").unwrap();
        assert_eq!((asked.url.as_str(), asked.headers.len()), ("http://a/", 2));
    }
}
