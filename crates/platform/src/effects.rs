//! The list of everything Livery does that outlives a moment, with the moments at which a process may die around it.
//!
//! The crash matrix is made from this list, and the published table is compared with it: an effect that is added here is
//! killed in all its phases before anybody relies on it. Walk on: `crash` is where a debug build dies on demand.

use std::fmt;
use std::str::FromStr;

/// A moment around an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Decided, nothing written.
    BeforeIntent,
    /// The intent is in the log (where the effect has one), nothing is begun.
    Before,
    /// Begun, not done.
    During,
    /// Done, its result not written.
    After,
    /// The result is written, nothing that follows from it is begun.
    Committed,
}

impl Phase {
    /// Every phase, in the order of time.
    pub const ALL: &'static [Self] = &[Self::BeforeIntent, Self::Before, Self::During, Self::After, Self::Committed];

    /// The name in the table and in a crash point.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeIntent => "before_intent",
            Self::Before => "before",
            Self::During => "during",
            Self::After => "after",
            Self::Committed => "committed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What becomes of an effect whose intent is known and whose result is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Repeated: doing it twice does no harm.
    Repeat,
    /// Repeated under the same `Idempotency-Key`.
    RepeatWithKey,
    /// Not repeated: the model is told that the outcome is not known.
    OutcomeUnknown,
    /// Not known to the platform at all: the caller asks again, with its own `Idempotency-Key`.
    Caller,
    /// Not known to the platform at all: the sender repeats its message, which is known by its id.
    Sender,
}

impl Recovery {
    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Repeat => "repeated, which does no harm",
            Self::RepeatWithKey => "repeated with the same key",
            Self::OutcomeUnknown => "never repeated: \"outcome unknown\"",
            Self::Caller => "the caller repeats with its Idempotency-Key",
            Self::Sender => "the sender repeats its message",
        }
    }
}

macro_rules! effects {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $recovery:ident, [$($phase:ident),*];)*) => {
        /// A kind of effect.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EffectKind { $($(#[$doc])* $name,)* }

        impl EffectKind {
            /// Every kind, in the order a run meets them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in the table and in a crash point.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What recovery does with one that was begun.
            pub const fn recovery(self) -> Recovery {
                match self { $(Self::$name => Recovery::$recovery,)* }
            }

            /// The phases that are moments of their own for this kind.
            pub const fn phases(self) -> &'static [Phase] {
                match self { $(Self::$name => &[$(Phase::$phase,)*],)* }
            }
        }
    };
}

effects! {
    /// The bytes of an uploaded file and then its row.
    FileUpload = "file_upload", Caller, [Before, After, Committed];
    /// One transaction that makes a run exist.
    RunAcceptance = "run_acceptance", Caller, [Before, During, Committed];
    /// A schedule's slot: it moves on and its run exists, in one transaction.
    ScheduleFire = "schedule_fire", Repeat, [Before, During, Committed];
    /// A message to a trigger: it is remembered and its run exists, in one transaction.
    TriggerReceipt = "trigger_receipt", Sender, [Before, During, Committed];
    /// A node takes a run from the queue.
    QueueClaim = "queue_claim", Repeat, [Before, Committed];
    /// The heartbeat of a node's runs.
    LeaseRenewal = "lease_renewal", Repeat, [Before, Committed];
    /// A question to a model.
    ModelCall = "model_call", RepeatWithKey, [BeforeIntent, Before, During, After, Committed];
    /// The wait before a model is asked again.
    RetryWait = "retry_wait", Repeat, [BeforeIntent, Before, During, After];
    /// A sandbox is made.
    SandboxCreate = "sandbox_create", Repeat, [Before, During, After];
    /// The agent's and the request's files are laid into its workspace.
    SandboxFill = "sandbox_fill", Repeat, [During, After, Committed];
    /// The workspace that outlives its runs is opened, and what was saved is laid out.
    WorkspaceOpen = "workspace_open", Repeat, [Before, After, Committed];
    /// A tool that changes nothing: `read_file`, `list_files`, `search_files`.
    ReadTool = "read_tool", Repeat, [BeforeIntent, Before, During, After, Committed];
    /// A command or a program of the model, or something it does with a terminal.
    Shell = "shell", OutcomeUnknown, [BeforeIntent, Before, During, After, Committed];
    /// A tool of the agent's own.
    OwnTool = "own_tool", OutcomeUnknown, [BeforeIntent, Before, During, After, Committed];
    /// A file is written.
    WriteFile = "write_file", OutcomeUnknown, [BeforeIntent, Before, During, After, Committed];
    /// A file is changed.
    EditFile = "edit_file", OutcomeUnknown, [BeforeIntent, Before, During, After, Committed];
    /// A request through a connection that changes nothing: `GET`, `HEAD`.
    ApiRead = "api_read", Repeat, [BeforeIntent, Before, During, After, Committed];
    /// A request through a connection that may change something.
    ApiWrite = "api_write", OutcomeUnknown, [BeforeIntent, Before, During, After, Committed];
    /// A statement for a database.
    QuerySql = "query_sql", OutcomeUnknown, [BeforeIntent, Before, During, After, Committed];
    /// A message handed to a mail server.
    SendEmail = "send_email", OutcomeUnknown, [BeforeIntent, Before, During, After, Committed];
    /// A person is asked: the approval exists and the call is held, in one transaction.
    ApprovalRequest = "approval_request", OutcomeUnknown, [Before, During, Committed];
    /// A run that waits for a person is put down.
    RunWait = "run_wait", Repeat, [Before, During, Committed];
    /// A person's yes or no.
    ApprovalDecision = "approval_decision", Caller, [Before, During, Committed];
    /// What a person approved is done: the approval is used up, then the request is sent.
    ApprovedCall = "approved_call", OutcomeUnknown, [BeforeIntent, Before, During, After];
    /// A large event payload is kept beside the log.
    Spill = "spill", Repeat, [Before, After, Committed];
    /// What a run left in its outputs is kept.
    Artifact = "artifact", Repeat, [Before, After];
    /// What a run left in its workspace is kept for the next; the state changes with the terminal write.
    WorkspaceSave = "workspace_save", Repeat, [Before, After];
    /// The one terminal write.
    Finish = "finish", Repeat, [Before, Committed];
    /// Sandbox and workspace of a run that is over are taken down.
    SandboxRemoval = "sandbox_removal", Repeat, [Before, During, After];
    /// A request to stop a run.
    Cancel = "cancel", Caller, [Before, Committed];
    /// One attempt to tell an endpoint.
    WebhookDelivery = "webhook_delivery", RepeatWithKey, [Before, During, After, Committed];
}

impl EffectKind {
    /// The kind of a tool, by the tool's name; a name that is not built in is the agent's own. Of `call_api`, whose kind depends
    /// on the method, the careful one.
    pub fn of_tool(name: &str) -> Self {
        match name {
            "shell" | "run_code" | "terminal" => Self::Shell,
            "read_file" | "list_files" | "search_files" => Self::ReadTool,
            "write_file" => Self::WriteFile,
            "edit_file" => Self::EditFile,
            "call_api" => Self::ApiWrite,
            "query_sql" => Self::QuerySql,
            "send_email" => Self::SendEmail,
            _ => Self::OwnTool,
        }
    }
}

impl fmt::Display for EffectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One place to die: `EFFECT:PHASE`, or `EFFECT:PHASE:N` for the Nth time it is reached in the life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashPoint {
    /// Around what.
    pub effect: EffectKind,
    /// When.
    pub phase: Phase,
    /// Which time, from 1.
    pub nth: u32,
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.effect, self.phase, self.nth)
    }
}

impl FromStr for CrashPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (effect, phase) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let nth = parts.next().map_or(Ok(1), str::parse).map_err(|_| format!("{text}: N is a number from 1"))?;
        let kind = EffectKind::ALL.iter().find(|kind| kind.as_str() == effect);
        let kind = *kind.ok_or_else(|| format!("{text}: there is no effect {effect}"))?;
        let moment = kind.phases().iter().find(|moment| moment.as_str() == phase);
        let phase = *moment.ok_or_else(|| format!("{text}: {effect} has no phase {phase}"))?;
        if nth == 0 || parts.next().is_some() {
            return Err(format!("{text}: a crash point is EFFECT:PHASE or EFFECT:PHASE:N"));
        }
        Ok(Self { effect: kind, phase, nth })
    }
}

#[cfg(test)]
mod tests {
    use super::{CrashPoint, EffectKind};

    #[test]
    fn every_point_is_read_as_it_is_written() {
        for effect in EffectKind::ALL {
            for phase in effect.phases() {
                let point = CrashPoint { effect: *effect, phase: *phase, nth: 2 };
                assert_eq!(point.to_string().parse(), Ok(point));
            }
        }
        let bare: CrashPoint = "shell:during".parse().unwrap();
        assert_eq!(bare.nth, 1);
        for wrong in ["", "shell", "shell:never", "finish:during", "shell:during:0", "shell:during:1:1", "x:before"] {
            assert!(wrong.parse::<CrashPoint>().is_err(), "{wrong}");
        }
    }
}
