//! Lets tonic read and write the envelope messages.

use bytes::BufMut;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::ads::Mode;
use crate::ads::wire::{Request, Response};

/// Reads requests: the server's side.
pub(super) struct RequestDecoder(pub(super) Mode);

impl Decoder for RequestDecoder {
    type Item = Request;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Request>, Status> {
        Request::decode(self.0, buffer).map(Some).map_err(malformed)
    }
}

/// Writes requests and reads responses: the client's side.
#[derive(Clone, Copy)]
pub(super) struct ClientCodec(pub(super) Mode);

impl Codec for ClientCodec {
    type Encode = Request;
    type Decode = Response;
    type Encoder = RequestEncoder;
    type Decoder = ResponseDecoder;

    fn encoder(&mut self) -> RequestEncoder {
        RequestEncoder
    }

    fn decoder(&mut self) -> ResponseDecoder {
        ResponseDecoder(self.0)
    }
}

pub(super) struct RequestEncoder;

impl Encoder for RequestEncoder {
    type Item = Request;
    type Error = Status;

    fn encode(&mut self, item: Request, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        debug_assert!(buffer.has_remaining_mut(), "the buffer grows as it is written");
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

pub(super) struct ResponseDecoder(Mode);

impl Decoder for ResponseDecoder {
    type Item = Response;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Response>, Status> {
        Response::decode(self.0, buffer).map(Some).map_err(malformed)
    }
}

pub(super) fn malformed(error: prost::DecodeError) -> Status {
    Status::invalid_argument(format!("a message that is not what the method takes: {error}"))
}
