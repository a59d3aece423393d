//! Writes responses straight into gRPC frames.
//!
//! # Why by hand
//! The bodies are encoded already. Building a message out of them first would copy each name and version into a
//! `String` per stream only to copy it again into the frame. The tests read every frame back with the messages of
//! [`wire`](super::super::wire), so the two cannot drift apart.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};

use super::set::EncodedResource;
use crate::ads::Mode;
use crate::ads::wire::{FRAME_HEADER_BYTES, NOT_FOUND};

/// What a response says.
pub(super) struct Contents<'a> {
    pub(super) mode: Mode,
    pub(super) type_url: &'a str,
    pub(super) nonce: &'a str,
    /// `version_info` or `system_version_info`.
    pub(super) version: &'a str,
    pub(super) resources: &'a [Arc<EncodedResource>],
    /// Delta only: state of the world says it by omission.
    pub(super) removed: &'a [Arc<str>],
    /// Names that are asked for and do not exist, where the variant has no other way to say so.
    pub(super) missing: &'a [Arc<str>],
}

/// The wire type of strings, bytes and messages.
const LENGTH_DELIMITED: u64 = 2;

impl Contents<'_> {
    /// The frame.
    pub(super) fn encode(&self) -> Bytes {
        let len = self.encoded_len();
        let mut out = BytesMut::with_capacity(FRAME_HEADER_BYTES + len);
        out.put_u8(0);
        // A frame above 4 GiB does not arise: the process would hold its resources several times over before.
        out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
        put(1, self.version.as_bytes(), &mut out);
        for resource in self.resources {
            match self.mode {
                Mode::Delta => {
                    open(2, wrapped_len(resource), &mut out);
                    put(1, resource.version.as_bytes(), &mut out);
                    put_even_if_empty(2, &resource.any, &mut out);
                    put(3, resource.name.as_bytes(), &mut out);
                }
                Mode::StateOfTheWorld => put_even_if_empty(2, &resource.any, &mut out),
            }
        }
        put(4, self.type_url.as_bytes(), &mut out);
        put(5, self.nonce.as_bytes(), &mut out);
        for name in self.removed {
            put_even_if_empty(6, name.as_bytes(), &mut out);
        }
        for name in self.missing {
            let (name_len, status_len) = missing_lens(name);
            open(self.errors_field(), field_len(1, name_len) + field_len(2, status_len), &mut out);
            open(1, name_len, &mut out);
            put(1, name.as_bytes(), &mut out);
            open(2, status_len, &mut out);
            encode_varint(1 << 3, &mut out);
            encode_varint(NOT_FOUND.unsigned_abs().into(), &mut out);
            put(2, MISSING.as_bytes(), &mut out);
        }
        debug_assert_eq!(out.len(), FRAME_HEADER_BYTES + len, "the length is computed as the bytes are written");
        out.freeze()
    }

    fn encoded_len(&self) -> usize {
        let resources: usize = self
            .resources
            .iter()
            .map(|r| match self.mode {
                Mode::Delta => field_len(2, wrapped_len(r)),
                Mode::StateOfTheWorld => field_len(2, r.any.len()),
            })
            .sum();
        let removed: usize = self.removed.iter().map(|name| field_len(6, name.len())).sum();
        let missing: usize = self
            .missing
            .iter()
            .map(|name| {
                let (name_len, status_len) = missing_lens(name);
                field_len(self.errors_field(), field_len(1, name_len) + field_len(2, status_len))
            })
            .sum();
        let head = text_len(1, self.version) + text_len(4, self.type_url) + text_len(5, self.nonce);
        head + resources + removed + missing
    }

    /// `resource_errors` has different numbers in the two responses.
    fn errors_field(&self) -> u64 {
        match self.mode {
            Mode::Delta => 9,
            Mode::StateOfTheWorld => 7,
        }
    }
}

/// The message of a `resource_errors` entry.
const MISSING: &str = "no such resource";

/// Lengths of the `ResourceName` and of the `Status` of a missing resource.
fn missing_lens(name: &str) -> (usize, usize) {
    (text_len(1, name), 1 + encoded_len_varint(NOT_FOUND.unsigned_abs().into()) + text_len(2, MISSING))
}

fn wrapped_len(resource: &EncodedResource) -> usize {
    text_len(1, &resource.version) + field_len(2, resource.any.len()) + text_len(3, &resource.name)
}

fn field_len(field: u64, len: usize) -> usize {
    encoded_len_varint(field << 3 | LENGTH_DELIMITED) + encoded_len_varint(len as u64) + len
}

/// Empty strings are not written (proto3).
fn text_len(field: u64, text: &str) -> usize {
    if text.is_empty() { 0 } else { field_len(field, text.len()) }
}

fn open(field: u64, len: usize, out: &mut BytesMut) {
    encode_varint(field << 3 | LENGTH_DELIMITED, out);
    encode_varint(len as u64, out);
}

fn put(field: u64, bytes: &[u8], out: &mut BytesMut) {
    if !bytes.is_empty() {
        put_even_if_empty(field, bytes, out);
    }
}

fn put_even_if_empty(field: u64, bytes: &[u8], out: &mut BytesMut) {
    open(field, bytes.len(), out);
    out.extend_from_slice(bytes);
}
