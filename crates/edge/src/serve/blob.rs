//! Blobs, their outboards and their verified streams.

use super::Server;
use crate::body::{Body, Plan, Stream};
use crate::digest::{repr_digest, wants_sha256};
use crate::listen::ConnInfo;
use crate::outcome::Pen;
use crate::reply::Refused;
use crate::shelf::{Live, ShelfError};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE,
    RANGE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use penstock_core::blob::{BlobId, BlobSize, ByteRange};
use penstock_core::conditional::{Conditions, Precondition, RangeUse, Tag, evaluate};
use penstock_core::entitle::{Grant, Silent, Visibility, decide_blob};
use penstock_core::range::{Multipart, RangeAnswer, RangeSpec, content_range};
use penstock_core::reply::Problem;
use penstock_core::request::Method;
use penstock_store::ViewError;
use std::sync::Arc;

const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

impl Server {
    /// `/v1/blobs/{blob}`.
    pub(super) async fn blob(
        &self,
        blob: BlobId,
        head: &Parts,
        conn: &ConnInfo,
        method: Method,
        pen: &mut Pen,
    ) -> Result<Response<Body>, Refused> {
        let grant = self.grant(blob, head, conn, pen)?;
        let view = self.view(&grant).await?;
        let size = view.size();
        let tag = Tag::of_blob(blob);
        let fields = ContentFields::new(&tag, &grant);
        let range_use = match preconditions(&tag, &head.headers)? {
            Some(range_use) => range_use,
            None => return Ok(fields.not_modified()),
        };
        let answer = match wanted_ranges(head, method, range_use) {
            Some(spec) => spec.answer(size),
            None => RangeAnswer::Whole,
        };
        let (plan, status, content_type, range) = match answer {
            RangeAnswer::Unsatisfiable => return Err(Refused::unsatisfiable(size)),
            RangeAnswer::Whole => (Plan::data(ByteRange::whole(size)), StatusCode::OK, OCTETS, None),
            RangeAnswer::Parts(parts) => {
                pen.outcome().ranges = parts.count();
                match parts.single() {
                    Some(range) => (Plan::data(Some(range)), StatusCode::PARTIAL_CONTENT, OCTETS, Some(range)),
                    None => {
                        let layout = Multipart::new(blob, size, parts);
                        let content_type = value(layout.content_type());
                        (Plan::multipart(layout), StatusCode::PARTIAL_CONTENT, content_type, None)
                    }
                }
            }
        };
        // Only now: it reads the whole blob at its first use, and a refusal needs none.
        let digest = self.digest(&view, &head.headers).await?;
        let mut response = fields.response(status, content_type, self.body(view, plan, conn));
        let headers = response.headers_mut();
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(range) = range {
            headers.insert(CONTENT_RANGE, value(content_range(range, size)));
        }
        if let Some(digest) = digest {
            headers.insert(REPR_DIGEST, digest);
        }
        Ok(response)
    }

    /// `/v1/blobs/{blob}/outboard`.
    pub(super) async fn outboard(
        &self,
        blob: BlobId,
        head: &Parts,
        conn: &ConnInfo,
        pen: &mut Pen,
    ) -> Result<Response<Body>, Refused> {
        let grant = self.grant(blob, head, conn, pen)?;
        let view = self.view(&grant).await?;
        let tag = Tag::of_part(blob, "outboard");
        let fields = ContentFields::new(&tag, &grant);
        if preconditions(&tag, &head.headers)?.is_none() {
            return Ok(fields.not_modified());
        }
        let plan = Plan::outboard(view.size());
        Ok(fields.response(StatusCode::OK, OCTETS, self.body(view, plan, conn)))
    }

    /// `/v1/blobs/{blob}/verified?start=&end=`.
    pub(super) async fn verified(
        &self,
        blob: BlobId,
        range: Option<ByteRange>,
        head: &Parts,
        conn: &ConnInfo,
        pen: &mut Pen,
    ) -> Result<Response<Body>, Refused> {
        let grant = self.grant(blob, head, conn, pen)?;
        let view = self.view(&grant).await?;
        let (start, end) = inside(range, view.size());
        let tag = Tag::of_part(blob, &format!("verified.{start}-{end}"));
        let fields = ContentFields::new(&tag, &grant);
        if preconditions(&tag, &head.headers)?.is_none() {
            return Ok(fields.not_modified());
        }
        let plan = Plan::verified(view.size(), range);
        Ok(fields.response(StatusCode::OK, OCTETS, self.body(view, plan, conn)))
    }

    fn grant(&self, blob: BlobId, head: &Parts, conn: &ConnInfo, pen: &mut Pen) -> Result<Grant, Refused> {
        pen.outcome().blob = Some(blob);
        self.decide(head, conn, |caller, scene| {
            self.catalog.with_blob(&blob, |open, uses| decide_blob(blob, open, uses, caller, scene, &mut Silent))
        })
    }

    async fn view(&self, grant: &Grant) -> Result<Arc<Live>, Refused> {
        if self.shelf.size_of(grant).is_none() {
            return Err(Refused::because(Problem::BlobDamaged, "this node does not have the blob's bytes"));
        }
        self.shelf.open(grant).await.map_err(|error| unreadable(grant.blob(), &error))
    }

    async fn digest(&self, view: &Live, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refused> {
        if !wants_sha256(headers.get_all(WANT_REPR_DIGEST)) {
            return Ok(None);
        }
        // Boxed: few ask for it, and all pay for the size of this future.
        let sha256 = Box::pin(self.shelf.sha256(view)).await.map_err(|error| unreadable(*view.id(), &error))?;
        Ok(Some(repr_digest(&sha256)))
    }

    fn body(&self, view: Arc<Live>, plan: Plan, conn: &ConnInfo) -> Body {
        Body::stream(Stream::new(view, self.shelf.pool().clone(), plan, conn))
    }
}

/// The fields that all answers about a blob's bytes share.
struct ContentFields {
    etag: HeaderValue,
    cache: HeaderValue,
}

impl ContentFields {
    fn new(tag: &Tag, grant: &Grant) -> Self {
        let cache = match grant.visibility() {
            Visibility::Public => "public, max-age=31536000, immutable",
            Visibility::Private => "private, max-age=31536000, immutable",
        };
        Self { etag: value(tag.quoted()), cache: HeaderValue::from_static(cache) }
    }

    fn response(self, status: StatusCode, content_type: HeaderValue, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        self.add_to(response)
    }

    fn not_modified(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        self.add_to(response)
    }

    fn add_to(self, mut response: Response<Body>) -> Response<Body> {
        response.headers_mut().insert(ETAG, self.etag);
        response.headers_mut().insert(CACHE_CONTROL, self.cache);
        response
    }
}

/// Evaluates the request's conditions: how to treat `Range`, or `None` for 304.
pub(super) fn preconditions(tag: &Tag, headers: &HeaderMap) -> Result<Option<RangeUse>, Refused> {
    let lines = |name| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    let conditions =
        Conditions { if_match: lines(IF_MATCH), if_none_match: lines(IF_NONE_MATCH), if_range: lines(IF_RANGE) };
    match evaluate(tag, conditions) {
        Precondition::Proceed(range_use) => Ok(Some(range_use)),
        Precondition::NotModified => Ok(None),
        Precondition::Failed => Err(Refused::new(Problem::PreconditionFailed)),
    }
}

/// The request's `Range`, where it counts. RFC 9110, section 14.2: it is defined for GET alone, and it is one field.
fn wanted_ranges(head: &Parts, method: Method, range_use: RangeUse) -> Option<RangeSpec> {
    if method != Method::Get || range_use == RangeUse::Ignore {
        return None;
    }
    let mut lines = head.headers.get_all(RANGE).into_iter();
    let line = lines.next()?;
    if lines.next().is_some() { None } else { RangeSpec::parse(line.as_bytes()) }
}

/// A range cut at the blob's end.
fn inside(range: Option<ByteRange>, size: BlobSize) -> (u64, u64) {
    range.map_or((0, size.0), |range| (range.start().min(size.0), range.end().min(size.0)))
}

/// The peer learns that the node cannot; the log learns why.
fn unreadable(blob: BlobId, error: &ShelfError) -> Refused {
    let error_source = error as &dyn std::error::Error;
    match error {
        ShelfError::View(ViewError::Unknown(_) | ViewError::Deleted(_) | ViewError::Damaged { .. }) => {
            tracing::warn!(%blob, error = error_source, "a blob that releases refer to cannot be served");
            Refused::new(Problem::BlobDamaged)
        }
        ShelfError::View(ViewError::Disk(_)) => {
            tracing::error!(%blob, error = error_source, "a blob cannot be read");
            Refused::new(Problem::Unavailable)
        }
        ShelfError::Full => {
            // Not louder: it is counted with its outcome, and there may be thousands.
            tracing::debug!(%blob, error = error_source, "a request is turned away");
            Refused::because(Problem::Unavailable, "too many blobs are being sent at once")
        }
        ShelfError::Pool => Refused::new(Problem::Unavailable),
        ShelfError::View(ViewError::OutOfRange { .. }) => {
            tracing::error!(%blob, error = error_source, "a range that was checked does not fit");
            Refused::new(Problem::Internal)
        }
    }
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("hashes, digits and our own words are header values")
}
