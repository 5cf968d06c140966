//! `/etc/livery/livery.env`: every setting of the server as a comment, made from what `livery up --help` says, so that none
//! is forgotten and none is invented.

/// What stands above the settings.
const HEAD: &str = "\
# Settings of the Livery service, read by systemd: NAME=value, one a line, no quotes needed.
# Take the # away from what you set, then: systemctl restart livery
# Keep this file to root (mode 0600): it may hold keys.
";
/// What comes from the environment alone.
const SECRETS: &str = "
# The key that seals all others (default: the file root.key in the data folder). Every node of a cluster has the same.
# Or the address of a key of Vault or OpenBao, transit:https://HOST/v1/transit/keys/NAME, with a file that holds a token.
#LIVERY_ROOT_KEY=
#LIVERY_KMS_TOKEN_FILE=

# Keys that make the model providers `anthropic` and `openai`. Others are stored over the API.
#ANTHROPIC_API_KEY=
#OPENAI_API_KEY=

# How much is logged: warn, or info,livery_platform=debug
#LIVERY_LOG=info
";
/// Set by the unit itself.
const SET_BY_THE_UNIT: &[&str] = &["LIVERY_DATA"];
/// Longest line of a comment.
const LINE_MAX: usize = 118;

/// One option of the help text.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Such as `--listen`.
    pub flag: String,
    /// Such as `LIVERY_LISTEN`; empty when only the flag sets it.
    pub variable: String,
    /// What it does, with its default.
    pub text: String,
}

/// The file.
pub fn file(help: &str) -> String {
    let mut file = HEAD.to_owned();
    for setting in settings(help) {
        if setting.variable.is_empty() || SET_BY_THE_UNIT.contains(&setting.variable.as_str()) {
            continue;
        }
        file.push('\n');
        let mut line = String::from("#");
        for word in setting.text.split_whitespace() {
            if line.len() + 1 + word.len() > LINE_MAX {
                file.push_str(&line);
                file.push('\n');
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        file.push_str(&format!("{line}\n#{}=\n", setting.variable));
    }
    file.push_str(SECRETS);
    file
}

/// The options of a help text, in its order. An option begins with its dashes near the margin; what follows is its text.
pub fn settings(help: &str) -> Vec<Setting> {
    let mut found: Vec<Setting> = Vec::new();
    let options = help.lines().skip_while(|line| !line.starts_with("Options:")).skip(1);
    for line in options {
        let inner = line.trim_start();
        let margin = line.len() - inner.len();
        if inner.starts_with('-') && margin <= 6 {
            let (names, text) = inner.split_once("  ").unwrap_or((inner, ""));
            let flag = names.split([',', ' ']).find(|name| name.starts_with("--")).unwrap_or_default();
            found.push(Setting { flag: flag.to_owned(), variable: String::new(), text: text.trim().to_owned() });
        } else if let Some(setting) = found.last_mut() {
            setting.text.push(' ');
            setting.text.push_str(inner);
        }
    }
    for setting in &mut found {
        let text = setting.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (before, rest) = text.split_once("[env:").unwrap_or((&text, ""));
        let (variable, after) = rest.split_once(']').unwrap_or(("", ""));
        setting.variable = variable.trim().split('=').next().unwrap_or_default().to_owned();
        setting.text = format!("{} {}", before.trim(), after.trim()).trim().to_owned();
    }
    found
}

#[cfg(test)]
mod tests;
