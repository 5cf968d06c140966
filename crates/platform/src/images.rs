//! The images of this node: which one a run gets, who uses which, and when one may go.
//!
//! Images lie in the node's data directory, put there by its operator; every node that works on runs has its own. A run is
//! pinned to a digest when it is accepted, so that it has the same files in every life.
//! Read next: `livery_images::Store`.

use std::collections::{BTreeMap, BTreeSet};

use livery_core::agent::image::IMAGE_HOST;
use livery_core::agent::{ImageRef, SandboxSpec, Tier};
use livery_core::error::FieldError;
use livery_core::{Error, Result, Timestamp};
use livery_images::{Digest, Image, Lease, Store};
use livery_sandbox::RootFs;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::audit::note;
use crate::{Caller, Platform, Principal, Scope};

/// Below the data directory.
pub const IMAGES_DIR: &str = "images";

/// The images of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Images {
    /// The node that was asked; others may have others.
    pub node: String,
    /// `host` first, then in the order they came.
    pub data: Vec<ImageView>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageView {
    /// `name:tag`, as often as it has names. None: it goes when no run needs it.
    pub names: Vec<String>,
    /// `sha256:…`; the machine's own has none.
    pub digest: Option<String>,
    /// `linux/amd64`.
    pub platform: Option<String>,
    /// Bytes, unpacked.
    pub bytes: Option<u64>,
    /// When it was made, as it says of itself.
    pub created: Option<String>,
    /// When it came here.
    pub imported_at: Option<Timestamp>,
    /// Agents of the caller's organization whose latest version names it.
    pub agents: u64,
    /// Runs of the caller's organization that are not over and have it.
    pub runs: u64,
}

/// What a sandbox is made of.
pub(crate) struct Root {
    pub(crate) image: RootFs,
    pub(crate) env: Vec<(String, String)>,
    /// The image with its digest, for the log.
    pub(crate) name: String,
    /// Keeps it where it is.
    pub(crate) lease: Option<Lease>,
}

/// How often something is named, by whose it is or by what is named.
type Uses = BTreeMap<String, u64>;

impl Platform {
    /// The images of this node.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without the scope `nodes:read`.
    pub async fn images(&self, principal: &Principal) -> Result<Images> {
        principal.require(Scope::NodesRead)?;
        let images = self.with_images(Store::list).await?.map_err(Error::internal)?;
        let (agents, runs) = self.own_uses(principal).await?;
        let count = |uses: &Uses, key: &str| uses.get(key).copied().unwrap_or_default();
        let host = ImageRef { repository: IMAGE_HOST.to_owned(), tag: None, digest: None }.tagged();
        let mut data =
            vec![ImageView { agents: count(&agents, &host), runs: count(&runs, &host), ..ImageView::host() }];
        data.extend(images.iter().map(|image| ImageView {
            agents: image.names.iter().map(|name| count(&agents, name)).sum(),
            runs: count(&runs, image.digest.hex()),
            ..ImageView::from(image)
        }));
        Ok(Images { node: self.identity.id.to_string(), data })
    }

    /// Takes a name away from an image of this node. The image with its last name goes later, once no run has it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] while an agent's latest version or a run that is not over names it.
    pub async fn delete_image(&self, caller: &Caller, name: &str) -> Result<()> {
        let principal = &caller.principal;
        principal.require(Scope::ImagesWrite)?;
        let missing = || Error::NotFound { what: "image" };
        let name: ImageRef = name.parse().map_err(|_| missing())?;
        if name.is_host() {
            return Err(Error::Conflict { code: "conflict", detail: "host is the machine's own".to_owned() });
        }
        if name.digest.is_some() {
            return Err(Error::invalid_field("", "an image is removed by its name and tag, without a digest"));
        }
        let wanted = name.clone();
        let found = self.with_images(move |store| store.find(&wanted)).await?.map_err(of_image)?;
        let (agents, runs) = self.uses_of(&name, Some(&found.digest)).await?;
        let (agents, runs): (u64, u64) = (agents.values().sum(), runs.values().sum());
        if agents + runs > 0 {
            let detail = format!("{} is used by {agents} agents and {runs} runs that are not over", name.tagged());
            return Err(Error::Conflict { code: "conflict", detail });
        }
        // A run may be on its way in with this image: what it needs is known only when no further one can name it, so the image
        // is left to the collector.
        let wanted = name.clone();
        self.with_images(move |store| store.change()?.remove_name(&wanted)).await?.map_err(of_image)?;
        let (org, now, actor) = (principal.org, self.clock.now(), principal.key);
        let data = json!({"image": name.tagged(), "digest": found.digest, "node": self.identity.id});
        self.store
            .write(move |tx| Box::pin(async move { note(tx, org, "image.deleted", now, actor, data).await }))
            .await?;
        Ok(())
    }

    /// The sandbox with its image pinned to a digest. A node that works on no runs has no images and leaves it to one that does.
    ///
    /// # Errors
    /// No such image here.
    pub(crate) async fn pin_image(&self, mut sandbox: SandboxSpec) -> Result<SandboxSpec> {
        let image = reference(&sandbox.image)?;
        if !image.is_host() && sandbox.tier == Tier::Isolate {
            return Err(Error::invalid_field("/sandbox/image", "an isolate has no image"));
        }
        if !image.is_host() && self.config.roles.worker {
            let wanted = image.clone();
            let found = self.with_images(move |store| store.find(&wanted)).await?;
            let found = found.map_err(|error| refused(&error))?;
            sandbox.image = image.pinned(found.digest.hex());
        }
        Ok(sandbox)
    }

    /// What a sandbox with this image is made of; the image stays where it is while the lease lives.
    ///
    /// # Errors
    /// No such image here, in a sentence that says what to do.
    pub(crate) async fn image_root(&self, image: &str) -> Result<Root, String> {
        let image = reference(image).map_err(|error| error.to_string())?;
        if image.is_host() {
            return Ok(Root { image: RootFs::Host, env: Vec::new(), name: image.to_string(), lease: None });
        }
        let wanted = image.clone();
        let held = self.with_images(move |store| store.hold(&wanted)).await.map_err(|error| error.to_string())?;
        let (found, lease) = held.map_err(|error| fix(&error))?;
        let name = image.pinned(found.digest.hex());
        Ok(Root { image: RootFs::Directory(found.root), env: found.env, name, lease: Some(lease) })
    }

    /// Agents and runs that name an image, by whose they are: runs by name too where they are not pinned.
    async fn uses_of(&self, image: &ImageRef, digest: Option<&Digest>) -> Result<(Uses, Uses)> {
        let says = format!("\"image\":\"{}", image.repository);
        let mut agents = Uses::new();
        for (org, manifest) in self.store.system_agents_that_say(&says).await? {
            if serde_json::from_str::<Manifest>(&manifest).is_ok_and(|agent| agent.sandbox.is(image)) {
                *agents.entry(org).or_default() += 1;
            }
        }
        let mut runs = Uses::new();
        for (org, sandbox, count) in self.store.system_live_sandboxes_that_say(&says).await? {
            let sandbox: ImageOf = serde_json::from_str(&sandbox).map_err(Error::internal)?;
            let has_digest = digest.is_some_and(|digest| sandbox.image.contains(digest.hex()));
            if sandbox.is(image) || has_digest {
                *runs.entry(org).or_default() += u64::try_from(count).unwrap_or_default();
            }
        }
        Ok((agents, runs))
    }

    /// What the caller's organization uses: its agents by the image's name, its runs by the image's digest where they have one.
    async fn own_uses(&self, principal: &Principal) -> Result<(Uses, Uses)> {
        let (mut agents, mut runs) = (Uses::new(), Uses::new());
        for manifest in self.store.latest_manifests(principal.org).await? {
            let Ok(Manifest { sandbox }) = serde_json::from_str(&manifest) else { continue };
            if let Ok(image) = reference(&sandbox.image) {
                *agents.entry(image.tagged()).or_default() += 1;
            }
        }
        for (sandbox, count) in self.store.live_sandboxes(principal.org).await? {
            let ImageOf { image } = serde_json::from_str(&sandbox).map_err(Error::internal)?;
            if let Ok(image) = reference(&image) {
                let key = image.digest.clone().unwrap_or_else(|| image.tagged());
                *runs.entry(key).or_default() += u64::try_from(count).unwrap_or_default();
            }
        }
        Ok((agents, runs))
    }

    /// The digests that runs are pinned to that are not over.
    async fn needed(&self) -> Result<BTreeSet<Digest>> {
        let all = self.store.system_live_sandboxes_that_say("@sha256:").await?;
        if all.len() >= livery_store::IMAGE_USES_MAX as usize {
            return Err(Error::Unavailable {
                detail: "too many runs to know which images they need".into(),
                retry_after_s: 60,
            });
        }
        let digests = all.iter().filter_map(|(_, sandbox, _)| serde_json::from_str::<ImageOf>(sandbox).ok());
        Ok(digests.filter_map(|sandbox| reference(&sandbox.image).ok()?.digest?.parse().ok()).collect())
    }

    /// Work on the store's files, off the async threads.
    async fn with_images<T: Send + 'static>(&self, work: impl FnOnce(&Store) -> T + Send + 'static) -> Result<T> {
        let store = Store::new(self.config.data_dir.join(IMAGES_DIR));
        tokio::task::spawn_blocking(move || work(&store)).await.map_err(Error::internal)
    }
}

/// Takes away what a death or a failed import left, and images without a name that no run needs.
pub(crate) async fn collect(platform: &Platform) {
    let swept = platform.with_images(|store| {
        store.sweep()?;
        store.has_garbage()
    });
    let collected = match swept.await {
        Ok(Ok(false)) => return,
        Ok(Ok(true)) => match platform.needed().await {
            Ok(keep) => platform.with_images(move |store| store.change()?.collect(&keep)).await,
            Err(error) => Err(error),
        },
        Ok(Err(error)) => Ok(Err(error)),
        Err(error) => Err(error),
    };
    match collected {
        Ok(Ok(collected)) if collected.images > 0 => {
            tracing::info!(images = collected.images, "images nobody needs are gone")
        }
        Ok(Ok(_) | Err(livery_images::Error::Busy)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "images cannot be looked after"),
        Err(error) => tracing::warn!(%error, "images cannot be looked after"),
    }
}

/// The image of a manifest or of a sandbox, of whatever version they are.
#[derive(Deserialize)]
struct Manifest {
    sandbox: ImageOf,
}

#[derive(Deserialize)]
struct ImageOf {
    image: String,
}

impl ImageOf {
    fn is(&self, image: &ImageRef) -> bool {
        reference(&self.image).is_ok_and(|own| own.tagged() == image.tagged())
    }
}

impl ImageView {
    fn host() -> Self {
        let (digest, platform, bytes, created, imported_at) = (None, None, None, None, None);
        Self { names: vec![IMAGE_HOST.to_owned()], digest, platform, bytes, created, imported_at, agents: 0, runs: 0 }
    }
}

impl From<&Image> for ImageView {
    fn from(image: &Image) -> Self {
        Self {
            names: image.names.iter().cloned().collect(),
            digest: Some(image.digest.to_string()),
            platform: Some(image.platform.clone()),
            bytes: Some(image.unpacked_bytes),
            created: image.created.clone(),
            imported_at: Some(image.imported_at),
            agents: 0,
            runs: 0,
        }
    }
}

fn reference(text: &str) -> Result<ImageRef> {
    text.parse().map_err(|_| Error::invalid_field("/sandbox/image", "not a name of an image"))
}

fn fix(error: &livery_images::Error) -> String {
    match error {
        livery_images::Error::Unknown(name) => format!(
            "there is no image {name} on this node; its operator brings it with `livery images import FILE --name NAME`"
        ),
        other => other.to_string(),
    }
}

fn refused(error: &livery_images::Error) -> Error {
    let detail = fix(error);
    let errors = vec![FieldError::new("/sandbox/image", "image_unavailable", detail.clone())];
    Error::Invalid { code: "image_unavailable", errors, detail }
}

fn of_image(error: livery_images::Error) -> Error {
    match error {
        livery_images::Error::Unknown(_) => Error::NotFound { what: "image" },
        livery_images::Error::Busy => Error::Unavailable { detail: error.to_string(), retry_after_s: 5 },
        other => Error::internal(other),
    }
}
