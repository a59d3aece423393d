//! What each service of the bookshop answers.
//!
//! # Why the answers name their version
//! Whoever watches a canary wants to see which version answered. Every answer carries `x-bookinfo-version`, and the
//! product page repeats in `x-bookinfo-reviews` which reviews it was given, so that one `curl -i` shows the split.

use std::fmt;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::Options;
use crate::call::{CallError, Outbound};

/// The services of the bookshop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ServiceName {
    /// The front page: calls details and reviews
    Productpage,
    /// What the book is
    Details,
    /// What readers say: v2 and v3 call ratings
    Reviews,
    /// How many stars
    Ratings,
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Productpage => "productpage",
            Self::Details => "details",
            Self::Reviews => "reviews",
            Self::Ratings => "ratings",
        })
    }
}

/// The answer to one request.
pub(crate) async fn answer(options: &Options, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = match (options.service, request.method(), request.uri().path()) {
        (_, &Method::GET, "/health") => reply(StatusCode::OK, &json!({"status": "ok"})),
        (ServiceName::Productpage, &Method::GET, "/" | "/productpage") => productpage(options, &request).await,
        (ServiceName::Details, &Method::GET, path) if path.starts_with("/details") => reply(StatusCode::OK, &details()),
        (ServiceName::Reviews, &Method::GET, path) if path.starts_with("/reviews") => reviews(options, &request).await,
        (ServiceName::Ratings, &Method::GET, path) if path.starts_with("/ratings") => {
            reply(StatusCode::OK, &json!({"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}))
        }
        (_, &Method::GET, path) => {
            reply(StatusCode::NOT_FOUND, &json!({"error": format!("{} has no page {path}", options.service)}))
        }
        _ => reply(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "the bookshop answers GET only"})),
    };
    if let Ok(version) = HeaderValue::from_str(&format!("{}/{}", options.service, options.version)) {
        response.headers_mut().insert("x-bookinfo-version", version);
    }
    response
}

async fn productpage(options: &Options, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let outbound = Outbound::new(options, request);
    let (details, reviews) = tokio::join!(outbound.get("details", "/details/0"), outbound.get("reviews", "/reviews/0"));
    match (details, reviews) {
        (Ok(details), Ok(reviews)) => {
            let version = reviews["version"].as_str().unwrap_or("unknown").to_owned();
            let mut response = reply(StatusCode::OK, &json!({"product": details, "reviews": reviews}));
            if let Ok(version) = HeaderValue::from_str(&version) {
                response.headers_mut().insert("x-bookinfo-reviews", version);
            }
            response
        }
        (Err(error), _) | (_, Err(error)) => unavailable(&error),
    }
}

fn details() -> Value {
    json!({
        "id": 0,
        "title": "The Comedy of Errors",
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
    })
}

async fn reviews(options: &Options, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let stars = match options.version.as_str() {
        "v1" => None,
        "v2" => Some("black"),
        _ => Some("red"),
    };
    let mut page = json!({
        "id": 0,
        "version": options.version,
        "reviews": [
            {"reviewer": "Reviewer1", "text": "Two pairs of twins and not a dull page."},
            {"reviewer": "Reviewer2", "text": "I laughed on the train and missed my stop."},
        ],
    });
    if let Some(colour) = stars {
        match Outbound::new(options, request).get("ratings", "/ratings/0").await {
            Ok(ratings) => page["ratings"] = json!({"colour": colour, "stars": ratings["ratings"]}),
            Err(error) => return unavailable(&error),
        }
    }
    reply(StatusCode::OK, &page)
}

fn unavailable(error: &CallError) -> Response<Full<Bytes>> {
    reply(StatusCode::BAD_GATEWAY, &json!({"error": error.to_string()}))
}

fn reply(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
