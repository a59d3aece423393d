//! Lines as a fuzz target asks for them: any format, filter and redaction of a command line, about anything.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tidegate_http1::{Limits, RequestHead};
use tidegate_report::ResponseFlag;
use tidegate_xds::resource::route::Policies;

use super::entry::{Entry, Place};
use super::{Filter, Format, Outcome, Redaction};
use crate::http::rejection::Behind;

/// What a command line asks for.
pub struct Line {
    format: Format,
    filter: Filter,
    redaction: Redaction,
}

/// What others may say within a request, and around it.
#[derive(Debug)]
pub struct Said<'s> {
    /// Target of the request.
    pub target: &'s str,
    /// Values of fields of the request; what no head may hold is left out.
    pub fields: &'s [(&'s str, &'s [u8])],
    /// Each field of the answer that a format wants.
    pub answer: &'s [u8],
    /// Whatever has a name.
    pub name: &'s str,
    /// Numbers: of bytes, of time, of the status.
    pub number: u64,
}

impl Line {
    /// `Err`: what is wrong with it.
    pub fn compile(format: &str, filter: &str, redaction: &str) -> Result<Self, String> {
        let filter = if filter.is_empty() { Filter::default() } else { filter.parse()? };
        let redaction = if redaction.is_empty() { Redaction::default() } else { redaction.parse()? };
        Ok(Self { format: format.parse()?, filter, redaction })
    }

    /// The line, and whether there would be one.
    pub fn write(&self, said: &Said<'_>) -> (Vec<u8>, bool) {
        let request = head(said);
        let outcome = Outcome::default();
        outcome.answered(said.number as u16 % 1_000);
        outcome.flag(ResponseFlag::UpstreamTimeout);
        outcome.grpc_status.set(Some(said.number as u8));
        outcome.received.set(said.number);
        outcome.sent.set(said.number);
        *outcome.failure.borrow_mut() = Some(said.name.to_owned());
        *outcome.kept.borrow_mut() = self.format.answers().iter().map(|_| Some(said.answer.into())).collect();
        let policies = Policies::from([(Arc::from(said.name), Arc::from(said.name))]);
        let behind = Behind { route: Some(&policies), cluster: Some(&policies), ..Behind::default() };
        let time = Duration::from_nanos(said.number);
        let entry = Entry {
            now: UNIX_EPOCH + time,
            started_at: UNIX_EPOCH + time,
            duration: time,
            listener: said.name,
            remote: ([127, 0, 0, 1], said.number as u16).into(),
            client: [192, 0, 2, 7].into(),
            local: None,
            server_name: Some(said.name),
            request: request.as_ref(),
            request_id: None,
            route: Some(Place { virtual_host: said.name, name: said.name, source: Some(said.name) }),
            cluster: Some(said.name),
            behind,
            response_time: Some(time),
            upstream_time: Some(time),
            hop: None,
            outcome: &outcome,
        };
        let is_wanted = self.filter.wants(&entry, || said.number);
        let mut line = Vec::new();
        self.format.write(&mut line, &entry, &self.redaction);
        (line, is_wanted)
    }
}

/// `None`: what was said is refused before there is a request.
fn head(said: &Said<'_>) -> Option<RequestHead> {
    let builder = RequestHead::builder().method("GET").authority("shop.example:80").path_and_query(said.target);
    let builder = said.fields.iter().fold(builder, |builder, (name, value)| builder.field(name, value));
    builder.build(&Limits::default()).ok()
}
