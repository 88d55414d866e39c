//! One blob from one edge, proved group by group while it comes.
//!
//! Uses the client's transport and core's decoder: nothing that was not proved reaches the caller.

use penstock_client::session::EdgeIndex;
use penstock_client::transport::http::HttpTransport;
use penstock_client::transport::{GetRequest, Transport as _, client_config};
use penstock_client::{EdgeUrl, Token};
use penstock_core::api::ProblemDocument;
use penstock_core::blob::{BlobId, BlobSize, ByteRange};
use penstock_core::limits::{ANSWER_JSON_BYTES_MAX, VERIFIED_BYTES_MAX};
use penstock_core::reply::Problem;
use penstock_core::tree::{DecodeError, RangeDecoder};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// An edge that sends nothing for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Why a blob was not fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The edge said no.
    #[error("the edge refused with status {status} ({code})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The problem document's code, or nothing.
        code: String,
    },
    /// What came is not what the name says.
    #[error("the edge sent other bytes than the blob's name says")]
    Proof(#[from] DecodeError),
    /// The network failed.
    #[error("cannot fetch from the edge")]
    Network(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing came for too long.
    #[error("the edge sent nothing for {} s", SILENCE_MAX.as_secs())]
    Silence,
    /// The bytes could not be written.
    #[error("cannot write the blob")]
    Write(#[source] io::Error),
}

impl FetchError {
    /// Whether a rule said no, or the proof failed: exit code 2.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Proof(_) => true,
            Self::Refused { status, .. } => matches!(status, 401 | 403 | 451),
            Self::Network(_) | Self::Silence | Self::Write(_) => false,
        }
    }
}

/// An edge to fetch from.
pub(crate) struct Edge {
    transport: HttpTransport,
}

impl Edge {
    /// Sets up the connection; nothing is sent yet.
    pub(crate) fn new(url: &EdgeUrl, ca: Option<&Path>, token: Option<&Token>) -> anyhow::Result<Self> {
        let tls = if url.is_secure() { Some(client_config(ca, true)?) } else { None };
        let transport = HttpTransport::new(std::slice::from_ref(url), tls.as_ref(), token)?;
        Ok(Self { transport })
    }

    /// Fetches the whole blob into `out`, in stretches as long as an edge allows; returns its proved size.
    pub(crate) async fn fetch(&self, blob: BlobId, out: &mut dyn Write) -> Result<BlobSize, FetchError> {
        let mut size = None;
        let mut done = 0;
        loop {
            let range = ByteRange::new(done, done + VERIFIED_BYTES_MAX);
            let proved = self.stretch(blob, range, size, out).await?;
            size = Some(proved);
            done += VERIFIED_BYTES_MAX;
            if done >= proved.0 {
                return Ok(proved);
            }
        }
    }

    async fn stretch(
        &self,
        blob: BlobId,
        range: Option<ByteRange>,
        size: Option<BlobSize>,
        out: &mut dyn Write,
    ) -> Result<BlobSize, FetchError> {
        let query = range.map(|range| format!("?start={}&end={}", range.start(), range.end())).unwrap_or_default();
        let request = GetRequest { target: format!("/v1/blobs/{blob}/verified{query}"), range: None };
        let network = |error| FetchError::Network(Box::new(error));
        let answer = self.transport.get(EdgeIndex(0), request);
        let mut answer =
            tokio::time::timeout(SILENCE_MAX, answer).await.map_err(|_| FetchError::Silence)?.map_err(network)?;
        let is_good = answer.head.status == 200;
        let mut decoder = RangeDecoder::new(blob, range, size);
        let mut refusal = Vec::new();
        loop {
            let piece = tokio::time::timeout(SILENCE_MAX, answer.body.next()).await.map_err(|_| FetchError::Silence)?;
            let Some(piece) = piece else { break };
            let piece = piece.map_err(network)?;
            if !is_good {
                let room = ANSWER_JSON_BYTES_MAX.saturating_sub(refusal.len());
                refusal.extend_from_slice(&piece[..piece.len().min(room)]);
                // A refusal without an end is told like any other.
                if piece.len() > room {
                    break;
                }
                continue;
            }
            let mut rest: &[u8] = &piece;
            while let Some(verified) = decoder.feed(&mut rest)? {
                out.write_all(verified.bytes).map_err(FetchError::Write)?;
            }
        }
        if !is_good {
            return Err(refused(answer.head.status, &refusal));
        }
        decoder.finish()?;
        decoder.claimed_size().ok_or(FetchError::Proof(DecodeError::Truncated { group: 0 }))
    }
}

fn refused(status: u16, body: &[u8]) -> FetchError {
    let document: Option<ProblemDocument> = serde_json::from_slice(body).ok();
    let code = document.map_or_else(|| Problem::Internal.code().to_owned(), |document| document.code);
    FetchError::Refused { status, code }
}
