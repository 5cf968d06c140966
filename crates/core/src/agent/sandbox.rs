//! The sandbox an agent asks for, and how far a run may change that.
//!
//! The figures here are the format's ceilings. What this host can and may give is decided where sandboxes are made.

mod minimum;
mod read;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::minimum::{BelowMinimum, Demander, Demands, MinimumTier};
pub(super) use self::read::read;
use super::image::ImageRef;
pub use super::image::{IMAGE_CHARS_MAX, IMAGE_HOST};
use crate::FieldError;

/// Default processor share.
pub const CPU_DEFAULT: Cpu = Cpu(1_000);
/// Smallest and largest processor share.
pub const CPU_RANGE: (Cpu, Cpu) = (Cpu(100), Cpu(64_000));
/// Default memory in MiB.
pub const MEMORY_MB_DEFAULT: u32 = 512;
/// Smallest and largest memory in MiB.
pub const MEMORY_MB_RANGE: (u32, u32) = (32, 65_536);
/// Default disk in MiB.
pub const DISK_MB_DEFAULT: u32 = 1_024;
/// Smallest and largest disk in MiB.
pub const DISK_MB_RANGE: (u32, u32) = (16, 102_400);
/// Most hosts of `network: {allow: […]}`, each with its port or without.
pub const ALLOW_MAX: usize = 64;

/// How strong the wall around a run is. A run gets exactly its tier, or a stronger one where it says so, or is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Namespaces, seccomp and Landlock on the host's kernel.
    #[default]
    Container,
    /// A kernel of its own in user space.
    Gvisor,
    /// A virtual machine with its own kernel.
    Microvm,
    /// A V8 isolate: JavaScript only, no shell.
    Isolate,
}

impl Tier {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Container, Self::Gvisor, Self::Microvm, Self::Isolate];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Gvisor => "gvisor",
            Self::Microvm => "microvm",
            Self::Isolate => "isolate",
        }
    }

    /// Whether this tier is at least as strong as `minimum`. An isolate is another kind of computer: it only answers for itself.
    pub const fn satisfies(self, minimum: Self) -> bool {
        match (self, minimum) {
            (Self::Isolate, Self::Isolate)
            | (Self::Microvm, Self::Microvm | Self::Gvisor | Self::Container)
            | (Self::Gvisor, Self::Gvisor | Self::Container)
            | (Self::Container, Self::Container) => true,
            (Self::Isolate | Self::Container | Self::Gvisor | Self::Microvm, _) => false,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that no tier has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no tier has this name: container, gvisor, microvm or isolate")]
pub struct UnknownTier;

impl FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(text: &str) -> Result<Self, UnknownTier> {
        Self::ALL.iter().copied().find(|tier| tier.as_str() == text).ok_or(UnknownTier)
    }
}

/// A share of processors in thousandths: `Cpu::from_millis(1500)` is one and a half, in JSON `1.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu(u32);

impl Cpu {
    /// From thousandths of a processor.
    pub const fn from_millis(millis: u32) -> Self {
        Self(millis)
    }

    /// Thousandths of a processor.
    pub const fn as_millis(self) -> u32 {
        self.0
    }

    /// From a number of processors; rounded to thousandths. `None` outside [`CPU_RANGE`].
    pub fn from_count(count: f64) -> Option<Self> {
        let millis = (count * 1_000.0).round();
        if !(f64::from(CPU_RANGE.0.0)..=f64::from(CPU_RANGE.1.0)).contains(&millis) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "inside CPU_RANGE")]
        Some(Self(millis as u32))
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1_000.0)
    }
}

impl Serialize for Cpu {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1_000) {
            serializer.serialize_u32(self.0 / 1_000)
        } else {
            serializer.serialize_f64(f64::from(self.0) / 1_000.0)
        }
    }
}

impl<'de> Deserialize<'de> for Cpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = f64::deserialize(deserializer)?;
        Self::from_count(count).ok_or_else(|| {
            serde::de::Error::custom(format!("cpu must be a number from {} to {}", CPU_RANGE.0, CPU_RANGE.1))
        })
    }
}

/// What a sandbox can reach. JSON: `"none"`, `"broker"` or `{"allow": ["host", "host:port", …]}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Nothing.
    None,
    /// What the broker lets through.
    #[default]
    Broker,
    /// What the broker lets through, and these hosts without a credential; at port 443 unless another is named.
    Allow(Vec<String>),
}

/// The sandbox an agent asks for, every field decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxSpec {
    /// The tier, or the weakest that will do.
    pub tier: Tier,
    /// Whether a stronger tier may be given.
    pub or_stronger: bool,
    /// The file system: [`IMAGE_HOST`] or an imported image.
    pub image: String,
    /// Processor share.
    pub cpu: Cpu,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// Workspace in MiB.
    pub disk_mb: u32,
    /// What it can reach.
    pub network: Network,
}

impl Default for SandboxSpec {
    fn default() -> Self {
        Self {
            tier: Tier::default(),
            or_stronger: false,
            image: IMAGE_HOST.to_owned(),
            cpu: CPU_DEFAULT,
            memory_mb: MEMORY_MB_DEFAULT,
            disk_mb: DISK_MB_DEFAULT,
            network: Network::default(),
        }
    }
}

/// What a run may say about its sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxOverride {
    /// Another tier, at least as strong as the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Whether a stronger tier may be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub or_stronger: Option<bool>,
    /// Another image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Another processor share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Other memory in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// Another workspace size in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mb: Option<u32>,
}

impl SandboxSpec {
    /// This sandbox with a run's wishes. Sizes are replaced within the format's ranges; the tier may only become stronger.
    ///
    /// # Errors
    /// Every wish that cannot be had; pointers start with `/sandbox/`.
    pub fn with_override(&self, wish: &SandboxOverride) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, detail: String| {
            errors.push(FieldError::new(format!("/sandbox/{field}"), "invalid_value", detail));
        };
        if let Some(tier) = wish.tier
            && !tier.satisfies(self.tier)
        {
            refuse("tier", format!("the agent asks for {} or stronger, not {tier}", self.tier));
        }
        if let Some(image) = &wish.image
            && !is_image(image)
        {
            refuse("image", "not a name of an image".into());
        }
        for (field, value, (min, max)) in
            [("memory_mb", wish.memory_mb, MEMORY_MB_RANGE), ("disk_mb", wish.disk_mb, DISK_MB_RANGE)]
        {
            if let Some(value) = value
                && !(min..=max).contains(&value)
            {
                refuse(field, format!("{field} must be from {min} to {max}, not {value}"));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            tier: wish.tier.unwrap_or(self.tier),
            or_stronger: wish.or_stronger.unwrap_or(self.or_stronger),
            image: wish.image.clone().unwrap_or_else(|| self.image.clone()),
            cpu: wish.cpu.unwrap_or(self.cpu),
            memory_mb: wish.memory_mb.unwrap_or(self.memory_mb),
            disk_mb: wish.disk_mb.unwrap_or(self.disk_mb),
            network: self.network.clone(),
        })
    }
}

fn is_image(text: &str) -> bool {
    text.parse::<ImageRef>().is_ok()
}
