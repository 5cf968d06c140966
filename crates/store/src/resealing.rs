//! Values that outlive a rotation of their organization's data key: where they are, which of them an older key still seals,
//! and how one is exchanged. What is sealed for a day or for a run (stored answers, webhooks named in a request, their
//! deliveries) stays as it is; the older keys stay readable for it.

use livery_core::id::OrgId;

use crate::error::Result;
use crate::reader::Lane;
use crate::sql::{FromRow, Row, Statement, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Values of one look.
const VALUES_MAX: u32 = 200;
/// Organizations of one look.
const ORGANIZATIONS_MAX: u32 = 1000;

/// A sealed value is `v1:KID:…`, the kid 16 characters.
macro_rules! under_other {
    ($table:literal, $column:literal, $version:literal) => {
        under_other!($table, $column, $version, "id")
    };
    ($table:literal, $column:literal, $version:literal, $id:literal) => {
        concat!(
            "select ",
            $id,
            ", ",
            $version,
            ", ",
            $column,
            " from ",
            $table,
            " where org_id = $1 and substr(",
            $column,
            ", 4, 16) <> $2 and ",
            $id,
            " > $3 order by ",
            $id,
            " limit $4"
        )
    };
}

macro_rules! exchange {
    ($table:literal, $column:literal) => {
        exchange!($table, $column, "id")
    };
    ($table:literal, $column:literal, $id:literal) => {
        concat!(
            "update ",
            $table,
            " set ",
            $column,
            " = $3 where org_id = $1 and ",
            $id,
            " = $2 and ",
            $column,
            " = $4"
        )
    };
}

statements! {
    CONNECTIONS = under_other!("connections", "sealed_value", "version");
    EXCHANGE_CONNECTION = exchange!("connections", "sealed_value");
    ACCESS_TOKENS = under_other!("connection_tokens", "sealed_access", "generation", "connection_id");
    EXCHANGE_ACCESS_TOKEN = exchange!("connection_tokens", "sealed_access", "connection_id");
    REFRESH_TOKENS = under_other!("connection_tokens", "sealed_refresh", "generation", "connection_id");
    EXCHANGE_REFRESH_TOKEN = exchange!("connection_tokens", "sealed_refresh", "connection_id");
    PROVIDERS = under_other!("model_providers", "sealed_key", "1");
    EXCHANGE_PROVIDER = exchange!("model_providers", "sealed_key");
    WEBHOOK_SECRETS = under_other!("webhooks", "sealed_secret", "1");
    EXCHANGE_WEBHOOK_SECRET = exchange!("webhooks", "sealed_secret");
    WEBHOOK_KEYS = under_other!("webhooks", "sealed_signing_key", "1");
    EXCHANGE_WEBHOOK_KEY = exchange!("webhooks", "sealed_signing_key");
    WEBHOOK_OLD_SECRETS = under_other!("webhooks", "old_sealed_secret", "1");
    EXCHANGE_WEBHOOK_OLD_SECRET = exchange!("webhooks", "old_sealed_secret");
    WEBHOOK_OLD_KEYS = under_other!("webhooks", "old_sealed_signing_key", "1");
    EXCHANGE_WEBHOOK_OLD_KEY = exchange!("webhooks", "old_sealed_signing_key");
    TRIGGERS = under_other!("triggers", "sealed_secret", "1");
    EXCHANGE_TRIGGER = exchange!("triggers", "sealed_secret");
    TRIGGER_PREVIOUS = under_other!("triggers", "sealed_previous", "1");
    EXCHANGE_TRIGGER_PREVIOUS = exchange!("triggers", "sealed_previous");
    /// Whoever never rotated has one key, and nothing to be exchanged.
    ROTATED = "select org_id from data_keys group by org_id having count(*) > 1 order by org_id limit $1";
}

/// A column of values that outlive a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedColumn {
    /// A connection's credential.
    Connection,
    /// The token a connection's credential was exchanged for.
    AccessToken,
    /// What the next one is asked for with.
    RefreshToken,
    /// A model provider's key.
    Provider,
    /// A webhook's secret.
    WebhookSecret,
    /// A webhook's Ed25519 seed.
    WebhookKey,
    /// The secret before the last rotation of a webhook.
    WebhookOldSecret,
    /// The seed before it.
    WebhookOldKey,
    /// A trigger's secret.
    Trigger,
    /// The one before its last rotation.
    TriggerPrevious,
}

impl SealedColumn {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Connection,
        Self::AccessToken,
        Self::RefreshToken,
        Self::Provider,
        Self::WebhookSecret,
        Self::WebhookKey,
        Self::WebhookOldSecret,
        Self::WebhookOldKey,
        Self::Trigger,
        Self::TriggerPrevious,
    ];

    /// What finds values in it, and what exchanges one.
    const fn statements(self) -> (Statement, Statement) {
        match self {
            Self::Connection => (CONNECTIONS, EXCHANGE_CONNECTION),
            Self::AccessToken => (ACCESS_TOKENS, EXCHANGE_ACCESS_TOKEN),
            Self::RefreshToken => (REFRESH_TOKENS, EXCHANGE_REFRESH_TOKEN),
            Self::Provider => (PROVIDERS, EXCHANGE_PROVIDER),
            Self::WebhookSecret => (WEBHOOK_SECRETS, EXCHANGE_WEBHOOK_SECRET),
            Self::WebhookKey => (WEBHOOK_KEYS, EXCHANGE_WEBHOOK_KEY),
            Self::WebhookOldSecret => (WEBHOOK_OLD_SECRETS, EXCHANGE_WEBHOOK_OLD_SECRET),
            Self::WebhookOldKey => (WEBHOOK_OLD_KEYS, EXCHANGE_WEBHOOK_OLD_KEY),
            Self::Trigger => (TRIGGERS, EXCHANGE_TRIGGER),
            Self::TriggerPrevious => (TRIGGER_PREVIOUS, EXCHANGE_TRIGGER_PREVIOUS),
        }
    }
}

/// A sealed value and the row it is bound to.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedValue {
    /// The row, `con_…` and the like.
    pub owner: String,
    /// The version, or a token's generation, it is bound to.
    pub version: u32,
    /// The value, sealed.
    pub sealed: String,
}

impl FromRow for SealedValue {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self { owner: row.take()?, version: row.take()?, sealed: row.take()? })
    }
}

impl Store {
    /// Organizations with more than one data key, at most a thousand.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_rotated_organizations(&self) -> Result<Vec<OrgId>> {
        let rows: Vec<(OrgId,)> = self.fetch_all(Lane::Scan, ROTATED, args![ORGANIZATIONS_MAX]).await?;
        Ok(rows.into_iter().map(|(org,)| org).collect())
    }

    /// Values of this column that another data key than `kid` seals, in the order of their rows and after the row `after`;
    /// at most 200.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn values_under_other_keys(
        &self,
        org: OrgId,
        column: SealedColumn,
        kid: &str,
        after: &str,
    ) -> Result<Vec<SealedValue>> {
        let (find, _) = column.statements();
        self.fetch_all(Lane::Scan, find, args![org, kid.to_owned(), after.to_owned(), VALUES_MAX]).await
    }
}

impl Tx {
    /// Exchanges a sealed value if it is still `before.sealed`. `true` when it was.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn exchange_sealed_value(
        &mut self,
        org: OrgId,
        column: SealedColumn,
        before: &SealedValue,
        after: &str,
    ) -> Result<bool> {
        let (_, exchange) = column.statements();
        let args = args![org, before.owner.clone(), after.to_owned(), before.sealed.clone()];
        Ok(self.execute(exchange, args).await? == 1)
    }
}
