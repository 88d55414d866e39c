//! A node's admin API as a [`Registry`]. Paths are those of DESIGN section 10.

use super::client::AdminClient;
use crate::registry::{Content, Registry, RegistryError};
use penstock_core::api::{
    ChannelsAnswer, MissingAnswer, MissingQuestion, MoveChannel, RegisterRelease, ReleasesAnswer, ReuseAnswer,
    ReuseQuestion, SigningAnswer,
};
use penstock_core::blob::BlobId;
use penstock_core::id::{ChannelName, ProductId};
use penstock_core::limits::MISSING_BLOBS_MAX;
use serde_json::Value;
use std::sync::Arc;

/// A node over HTTP. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpRegistry {
    client: Arc<AdminClient>,
}

impl HttpRegistry {
    /// A registry on top of a client.
    #[must_use]
    pub const fn new(client: Arc<AdminClient>) -> Self {
        Self { client }
    }
}

impl Registry for HttpRegistry {
    fn signing(&self, product: &ProductId) -> Result<SigningAnswer, RegistryError> {
        self.client.get_json(&format!("/admin/v1/products/{product}/signing"))
    }

    fn releases(&self, product: &ProductId) -> Result<ReleasesAnswer, RegistryError> {
        self.client.get_json(&format!("/admin/v1/products/{product}/releases"))
    }

    fn channels(&self, product: &ProductId) -> Result<ChannelsAnswer, RegistryError> {
        self.client.get_json(&format!("/admin/v1/products/{product}/channels"))
    }

    fn read_blob(&self, blob: &BlobId, bytes_max: u64) -> Result<Vec<u8>, RegistryError> {
        let bytes = self.client.get_blob(blob, bytes_max)?;
        if bytes.len() as u64 > bytes_max {
            return Err(RegistryError::Answer(format!("blob {blob} is larger than {bytes_max} bytes")));
        }
        Ok(bytes.into())
    }

    fn missing(&self, blobs: &[BlobId]) -> Result<Vec<BlobId>, RegistryError> {
        let mut missing = Vec::new();
        for some in blobs.chunks(MISSING_BLOBS_MAX) {
            let question = MissingQuestion { blobs: some.to_vec() };
            let answer: MissingAnswer = self.client.post_json_again("/admin/v1/blobs/missing", &question)?;
            missing.extend(answer.missing);
        }
        Ok(missing)
    }

    fn reuse(&self, product: &ProductId, question: &ReuseQuestion) -> Result<ReuseAnswer, RegistryError> {
        self.client.post_json_again(&format!("/admin/v1/products/{product}/reuse"), question)
    }

    fn put_blob(&self, blob: &BlobId, content: Content<'_>) -> Result<(), RegistryError> {
        let answer = self.client.put_blob(blob, content, "")?;
        if answer.blob == *blob && answer.bytes == content.bytes() {
            return Ok(());
        }
        Err(RegistryError::Answer(format!("the node took blob {blob} for {} of {} bytes", answer.blob, answer.bytes)))
    }

    fn register(&self, product: &ProductId, release: &RegisterRelease) -> Result<(), RegistryError> {
        // The same registration again changes nothing, so a lost answer is no reason to give up.
        let path = format!("/admin/v1/products/{product}/releases");
        self.client.post_json_again::<Value>(&path, release).map(|_| ())
    }

    fn move_channel(&self, product: &ProductId, channel: &ChannelName, to: &MoveChannel) -> Result<(), RegistryError> {
        let path = format!("/admin/v1/products/{product}/channels/{channel}");
        self.client.put_json::<Value>(&path, to).map(|_| ())
    }
}
