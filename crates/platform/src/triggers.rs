//! Triggers: a signed message from outside starts a run.
//!
//! A trigger belongs to its application, as a schedule does. Who posts to it has no key: it proves itself by a signature, and
//! learns no more than what became of its message.
//!
//! Walk on: `verify` is whom to believe, `receive` what happens to a message.

mod receive;
mod request;
mod verify;
mod view;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use livery_broker::Secret;
use livery_core::id::TriggerId;
use livery_core::inbound::{Filter, Template};
use livery_core::{Error, Result, Timestamp};
use livery_store::{Json, TriggerRow};
use serde_json::{Value, json};

pub use self::receive::{Inbound, Receipt, ReceiptStatus, Received};
pub use self::request::{NewTrigger, RotateTrigger, TriggerPatch};
pub use self::verify::{Encoding, HmacScheme, TOLERANCE_S, Verification};
use self::view::view_of;
pub use self::view::{TriggerDeliveryView, TriggerView, TriggerWithSecret};
use crate::audit::note;
use crate::runs::{Owner, RunTemplate};
use crate::schedules::end_user_of;
use crate::webhooks::sign;
use crate::{Caller, Page, PageRequest, Platform, Posted, Principal, Scope};

/// Most triggers of one application.
pub const TRIGGERS_PER_APPLICATION_MAX: u32 = 200;
/// Longest name, in characters.
pub const NAME_CHARS_MAX: usize = 200;
/// Largest message.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long the old secret holds after a rotation, when the caller does not say, in hours.
pub const ROTATION_OVERLAP_HOURS: u32 = 24;
/// The longest it may.
pub const ROTATION_OVERLAP_HOURS_MAX: u32 = 168;
/// How long a delivery is remembered: senders repeat theirs for days.
pub const REMEMBER_DAYS: i64 = 30;
/// Shortest secret that is brought along, in bytes.
const SECRET_BYTES_MIN: usize = 16;
/// Longest.
const SECRET_BYTES_MAX: usize = 512;
/// What a trigger's secret is sealed as.
pub(crate) const SECRET_FIELD: &str = "trigger_secret";
/// How often deliveries past their time are forgotten.
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// Forgets old deliveries until the node stops.
pub(crate) async fn forget_deliveries(platform: Platform) {
    while !platform.stop.is_cancelled() {
        let now = platform.clock.now();
        let purged =
            platform.store.write(move |tx| Box::pin(async move { tx.system_purge_trigger_deliveries(now).await }));
        let more = match purged.await {
            Ok(purged) => purged > 0,
            Err(error) => {
                tracing::warn!(%error, "old deliveries to triggers cannot be forgotten");
                false
            }
        };
        tokio::select! {
            () = platform.stop.cancelled() => {}
            () = tokio::time::sleep(if more { Duration::ZERO } else { PURGE_EVERY }) => {}
        }
    }
}

impl Platform {
    /// Creates a trigger of the caller's application; its secret is shown this once.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown agent, [`Error::Invalid`] for a verification, filter or template that cannot be
    /// read; [`Error::Conflict`] beyond [`TRIGGERS_PER_APPLICATION_MAX`].
    pub async fn create_trigger(&self, caller: &Caller, new: NewTrigger) -> Result<Posted<TriggerWithSecret>> {
        let principal = &caller.principal;
        principal.require(Scope::TriggersWrite)?;
        principal.require(Scope::RunsWrite)?;
        let (org, app, now) = (principal.org, principal.app, self.clock.now());
        let id = TriggerId::from_bits(self.mint());
        let secret = secret_for(&new.verification, new.secret)?;
        let row = TriggerRow {
            id,
            org,
            application: app,
            end_user: end_user_of(caller, new.on_behalf_of)?,
            created_by: principal.key,
            name: new.name,
            verification: Json::of(&new.verification)?,
            filter: Json::of(&new.filter)?,
            template: new.input.as_ref().map(Json::of).transpose()?,
            request: Json::of(&RunTemplate {
                agent: new.agent,
                model: new.model,
                sandbox: new.sandbox,
                limits: new.limits,
                connections: new.connections,
                files: new.files,
                metadata: new.metadata,
                webhook: new.webhook,
            })?,
            sealed_secret: self.vault.seal(&self.store, org, &id.to_string(), SECRET_FIELD, &secret, now).await?,
            sealed_previous: None,
            previous_until: None,
            paused_at: new.paused.then_some(now),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        self.check_trigger(&row).await?;
        let actor = principal.key;
        let created = TriggerWithSecret { trigger: view_of(row.clone(), now)?, secret: shown(&secret)? };
        self.post_secret(caller, created, move |tx| {
            Box::pin(async move {
                if tx.count_triggers(org, app).await? >= u64::from(TRIGGERS_PER_APPLICATION_MAX) {
                    let detail = format!("an application has at most {TRIGGERS_PER_APPLICATION_MAX} triggers");
                    return Err(Error::Conflict { code: "conflict", detail }.into());
                }
                tx.insert_trigger(&row).await?;
                note(tx, org, "trigger.created", now, actor, json!({"trigger": row.id})).await
            })
        })
        .await
    }

    /// The triggers of the caller's application, newest first.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `triggers:read`.
    pub async fn list_triggers(&self, principal: &Principal, page: PageRequest) -> Result<Page<TriggerView>> {
        principal.require(Scope::TriggersRead)?;
        let now = self.clock.now();
        let list = self.store.list_triggers(principal.org, principal.app, &page.into()).await?;
        Page::try_from_list(list, |row| view_of(row, now))
    }

    /// One trigger.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_trigger(&self, principal: &Principal, id: TriggerId) -> Result<TriggerView> {
        principal.require(Scope::TriggersRead)?;
        view_of(self.visible_trigger(principal, id).await?, self.clock.now())
    }

    /// Changes a trigger. How its sender proves itself can be changed within its kind only: another kind needs another
    /// secret, and so another trigger.
    ///
    /// # Errors
    /// Those of [`Platform::create_trigger`]; [`Error::Conflict`] when somebody else changed it at the same time.
    pub async fn update_trigger(&self, caller: &Caller, id: TriggerId, patch: TriggerPatch) -> Result<TriggerView> {
        let principal = &caller.principal;
        principal.require(Scope::TriggersWrite)?;
        principal.require(Scope::RunsWrite)?;
        let before = self.visible_trigger(principal, id).await?;
        let (org, actor, now) = (principal.org, principal.key, self.clock.now());
        let row = request::patched(&before, patch, now)?;
        // A trigger whose agent is gone can still be paused.
        if (&row.request, &row.template, &row.filter, &row.verification, &row.name)
            != (&before.request, &before.template, &before.filter, &before.verification, &before.name)
        {
            self.check_trigger(&row).await?;
        }
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    if !tx.update_trigger(&row).await? {
                        let detail = "the trigger was changed at the same time; look at it and try again".to_owned();
                        return Err(Error::Conflict { code: "conflict", detail }.into());
                    }
                    note(tx, org, "trigger.updated", now, actor, json!({"trigger": id})).await
                })
            })
            .await?;
        view_of(self.visible_trigger(principal, id).await?, now)
    }

    /// Replaces the secret. The old one holds for the hours asked for, so that the sender can be changed in between.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a secret that cannot be used.
    pub async fn rotate_trigger(
        &self,
        caller: &Caller,
        id: TriggerId,
        request: RotateTrigger,
    ) -> Result<Posted<TriggerWithSecret>> {
        let principal = &caller.principal;
        principal.require(Scope::TriggersWrite)?;
        let hours = request.overlap_hours.unwrap_or(ROTATION_OVERLAP_HOURS);
        if hours > ROTATION_OVERLAP_HOURS_MAX {
            return Err(Error::invalid_field("/overlap_hours", format!("at most {ROTATION_OVERLAP_HOURS_MAX}")));
        }
        let row = self.visible_trigger(principal, id).await?;
        let (org, actor, now) = (principal.org, principal.key, self.clock.now());
        let secret = secret_for(&row.verification.parse()?, request.secret)?;
        let sealed = self.vault.seal(&self.store, org, &id.to_string(), SECRET_FIELD, &secret, now).await?;
        let until = now.plus_millis(i64::from(hours) * 3_600_000);
        let mut view = view_of(row, now)?;
        (view.previous_secret_until, view.updated_at) = ((hours > 0).then_some(until), now);
        self.post_secret(caller, TriggerWithSecret { trigger: view, secret: shown(&secret)? }, move |tx| {
            Box::pin(async move {
                tx.rotate_trigger_secret(org, id, &sealed, until, now).await?;
                note(tx, org, "trigger.rotated", now, actor, json!({"trigger": id, "overlap_hours": hours})).await
            })
        })
        .await
    }

    /// Deletes a trigger. Runs it started go on.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_trigger(&self, caller: &Caller, id: TriggerId) -> Result<()> {
        let principal = &caller.principal;
        principal.require(Scope::TriggersWrite)?;
        self.visible_trigger(principal, id).await?;
        let (org, actor, now) = (principal.org, principal.key, self.clock.now());
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    tx.delete_trigger(org, id).await?;
                    note(tx, org, "trigger.deleted", now, actor, json!({"trigger": id})).await
                })
            })
            .await?;
        Ok(())
    }

    /// What came to a trigger with a right signature, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a trigger that is not the caller's.
    pub async fn list_trigger_deliveries(
        &self,
        principal: &Principal,
        id: TriggerId,
        page: PageRequest,
    ) -> Result<Page<TriggerDeliveryView>> {
        principal.require(Scope::TriggersRead)?;
        self.visible_trigger(principal, id).await?;
        let list = self.store.list_trigger_deliveries(principal.org, id, &page.into()).await?;
        Page::try_from_list(list, |row| Ok(TriggerDeliveryView::of(row)))
    }

    async fn visible_trigger(&self, principal: &Principal, id: TriggerId) -> Result<TriggerRow> {
        let row = self.store.get_trigger(principal.org, id).await?;
        row.filter(|row| principal.sees(row.application)).ok_or(Error::NotFound { what: "trigger" })
    }

    /// What can be said before the first message: everything but whether its input will fit.
    async fn check_trigger(&self, row: &TriggerRow) -> Result<()> {
        if row.name.trim().is_empty() || row.name.chars().count() > NAME_CHARS_MAX {
            return Err(Error::invalid_field("/name", format!("1 to {NAME_CHARS_MAX} characters")));
        }
        let verification: Verification = row.verification.parse()?;
        verification
            .check()
            .map_err(|(pointer, detail)| Error::invalid_field(format!("/verification{pointer}"), detail))?;
        let filter: Filter = row.filter.parse()?;
        filter.check().map_err(|(path, detail)| {
            let part = path.replace('~', "~0").replace('/', "~1");
            Error::invalid_field(if part.is_empty() { "/filter".to_owned() } else { format!("/filter/{part}") }, detail)
        })?;
        if let Some(template) = &row.template {
            Template::new(&template.parse::<Value>()?)
                .map_err(|(pointer, detail)| Error::invalid_field(format!("/input{pointer}"), detail))?;
        }
        let request: RunTemplate = row.request.parse()?;
        let agent = request.agent.clone();
        self.check_template(&self.caller_for(owner_of(row)), &agent, &request.with_input(Value::Null)).await
    }
}

fn owner_of(row: &TriggerRow) -> Owner {
    Owner { org: row.org, application: row.application, end_user: row.end_user, created_by: row.created_by }
}

/// The secret brought along, or a new one.
fn secret_for(verification: &Verification, brought: Option<String>) -> Result<Secret> {
    let Some(brought) = brought else {
        if verification.brings_secret() {
            let detail = "give the signing secret that the sender shows for its endpoint";
            return Err(Error::invalid_field("/secret", detail));
        }
        return Ok(new_secret(verification));
    };
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&brought.len()) || brought.chars().any(char::is_control) {
        let detail = format!("{SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes of text");
        return Err(Error::invalid_field("/secret", detail));
    }
    let secret = Secret::from(brought);
    if matches!(verification, Verification::StandardWebhooks {}) {
        sign::key_of(&secret).map_err(|detail| Error::invalid_field("/secret", detail))?;
    }
    Ok(secret)
}

fn new_secret(verification: &Verification) -> Secret {
    if matches!(verification, Verification::StandardWebhooks {}) {
        return sign::new_secret();
    }
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).expect("the kernel gives randomness");
    Secret::from(format!("lvt_{}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn shown(secret: &Secret) -> Result<String> {
    String::from_utf8(secret.expose_secret().to_vec()).map_err(Error::internal)
}

/// Until when a delivery that came at `now` is remembered.
fn remembered_until(now: Timestamp) -> Timestamp {
    now.plus_millis(REMEMBER_DAYS * 86_400_000)
}
