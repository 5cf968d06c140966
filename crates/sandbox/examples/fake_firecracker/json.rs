//! JSON as a strict server reads it: no member twice, nothing behind the value, a limit of depth.

/// How deep values may be nested.
const DEPTH_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

impl Json {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { left: text };
        let value = reader.value(0)?;
        reader.space();
        if reader.left.is_empty() { Ok(value) } else { Err("trailing characters".to_owned()) }
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        let Self::Map(members) = self else { return None };
        members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        if let Some(Self::Text(text)) = self.member(name) { text } else { "" }
    }
}

struct Reader<'a> {
    left: &'a str,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.left = self.left.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, what: &str) -> bool {
        self.space();
        let rest = self.left.strip_prefix(what);
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }

    fn want(&mut self, what: &str) -> Result<(), String> {
        if self.take(what) { Ok(()) } else { Err(format!("expected `{what}`")) }
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > DEPTH_MAX {
            return Err("recursion limit exceeded".to_owned());
        }
        for (word, value) in [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))] {
            if self.take(word) {
                return Ok(value);
            }
        }
        if self.take("[") {
            return self.list(depth);
        }
        if self.take("{") {
            return self.map(depth);
        }
        if self.left.starts_with('"') { self.string().map(Json::Text) } else { self.number() }
    }

    fn list(&mut self, depth: usize) -> Result<Json, String> {
        let mut values = Vec::new();
        if self.take("]") {
            return Ok(Json::List(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            if !self.take(",") {
                self.want("]")?;
                return Ok(Json::List(values));
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Json, String> {
        let mut members: Vec<(String, Json)> = Vec::new();
        if self.take("}") {
            return Ok(Json::Map(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.want(":")?;
            if members.iter().any(|(known, _)| *known == name) {
                return Err(format!("duplicate field `{name}`"));
            }
            members.push((name, self.value(depth + 1)?));
            if !self.take(",") {
                self.want("}")?;
                return Ok(Json::Map(members));
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        self.want("\"")?;
        let mut text = String::new();
        let mut letters = self.left.char_indices();
        loop {
            match letters.next().ok_or("EOF while parsing a string")? {
                (at, '"') => {
                    self.left = &self.left[at + 1..];
                    return Ok(text);
                }
                (_, '\\') => match letters.next().ok_or("EOF while parsing a string")?.1 {
                    'n' => text.push('\n'),
                    same @ ('"' | '\\' | '/') => text.push(same),
                    _ => return Err("an escape this stand-in does not read".to_owned()),
                },
                (_, letter) if letter < ' ' => return Err("control character in a string".to_owned()),
                (_, letter) => text.push(letter),
            }
        }
    }

    fn number(&mut self) -> Result<Json, String> {
        let end = self.left.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
        let (digits, rest) = self.left.split_at(end.unwrap_or(self.left.len()));
        self.left = rest;
        digits.parse().map(Json::Number).map_err(|_| "expected value".to_owned())
    }
}
