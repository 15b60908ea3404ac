//! The channel key: what makes two clients share, and at the same time the whole variable part of
//! the upstream request. What is not in here is not sent (invariant 6).

use std::fmt;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName,
    header::{COOKIE, ORIGIN},
};

use crate::config::model::{CookieIdentity, Fanout, QuerySelection, Share};

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Scheme of the client's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What makes two clients share a channel.
///
/// `Debug` and `Display` never show header values: they may be credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ChannelKey {
    /// Name of the route.
    pub route: String,
    /// Scheme that the client used.
    pub scheme: Scheme,
    /// Host that the client asked for, port included.
    pub host: String,
    /// Path and selected query, exactly as sent to the app.
    pub target: String,
    /// Identity (and `Origin`, and the host that a trusted proxy was asked for): keyed and sent, in a
    /// fixed order.
    pub headers: Vec<(HeaderName, Bytes)>,
}

impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ChannelKey")
            .field("route", &self.route)
            .field("scheme", &self.scheme)
            .field("host", &self.host)
            .field("target", &self.target)
            .field("headers", &names)
            .finish()
    }
}

impl ChannelKey {
    /// The key of a request that takes a fan-out route, or why it may not have one.
    ///
    /// # Errors
    ///
    /// When the path, the host or a header value is one that we neither repair nor pass on.
    pub fn of(
        route: &str,
        settings: &Fanout,
        target: &Target<'_>,
        host: &str,
        scheme: Scheme,
        headers: &HeaderMap,
    ) -> Result<Self, KeyError> {
        check_path(target.path)?;
        let query = selected_query(target.query, settings)?;
        let path = ascii(target.path)?;
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        Ok(Self {
            route: route.to_owned(),
            scheme,
            host: checked_host(host)?,
            target,
            headers: identity(settings, headers)?,
        })
    }
}

impl ChannelKey {
    /// Adds the host that a trusted proxy was asked for, if it asks us for another: an app may build
    /// its links with it.
    #[must_use]
    pub fn forwarded_from(mut self, host: Option<&str>) -> Self {
        let host = host.map(str::to_ascii_lowercase);
        if let Some(host) = host.filter(|host| *host != self.host) {
            self.headers.push((X_FORWARDED_HOST, Bytes::from(host)));
        }
        self
    }

    /// Whether the key names somebody: without, all anonymous clients share the channel, whatever
    /// the route says about credentials.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        let names_nobody = [ORIGIN, X_FORWARDED_HOST];
        self.headers
            .iter()
            .any(|(name, _)| !names_nobody.contains(name))
    }
}

/// A request target, split.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Raw path.
    pub path: &'a [u8],
    /// Raw query without `?`.
    pub query: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    /// Splits at the first `?`.
    #[must_use]
    pub fn new(raw: &'a [u8]) -> Self {
        let mut parts = raw.splitn(2, |byte| *byte == b'?');
        Self {
            path: parts.next().unwrap_or_default(),
            query: parts.next(),
        }
    }
}

/// Why a request can have no channel key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// The path holds a dot segment, an encoded slash, a backslash, a control byte, a percent sign
    /// that is encoded or stray, or does not begin with a slash.
    Path,
    /// The query holds a byte that may not stand in a target (RFC 3986 section 3.4).
    Query,
    /// The host is missing or holds a byte that no host has.
    Host,
    /// A header value holds a control byte.
    Header,
}

impl KeyError {
    /// For the client.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Path => {
                "the path holds a dot segment, an encoded slash or percent sign, a backslash or a control byte"
            }
            Self::Query => "the query holds a byte that must be percent-encoded",
            Self::Host => "the host is missing or malformed",
            Self::Header => "a header value holds a control byte",
        }
    }
}

/// Whether an app could read the path as another one than the route table did: by a dot segment, a
/// backslash or a NUL, encoded or not. Refused on every route, or a rule for one path would be
/// reachable by another spelling.
#[must_use]
pub fn is_ambiguous(path: &[u8]) -> bool {
    // Without one of these there is none of it, and most paths have none.
    let is_telling = |byte: &u8| matches!(byte, b'.' | b'%' | b'\\' | 0);
    if !path.iter().any(is_telling) {
        return false;
    }
    let mut segment = Vec::new();
    let mut rest = path.iter().copied().peekable();
    let mut bytes = std::iter::from_fn(|| {
        let byte = rest.next()?;
        if byte != b'%' {
            return Some((byte, byte == b'/'));
        }
        let mut digits = rest.clone();
        let value = digits.next().and_then(hex).zip(digits.next().and_then(hex));
        let Some((high, low)) = value else {
            return Some((byte, false));
        };
        rest = digits;
        Some((high << 4 | low, false))
    });
    loop {
        match bytes.next() {
            Some((b'\\' | 0, _)) => return true,
            Some((byte, false)) => segment.push(byte),
            Some((_, true)) | None if matches!(segment.as_slice(), b"." | b"..") => return true,
            Some((_, true)) => segment.clear(),
            None => return false,
        }
    }
}

/// A path that two parsers could read differently is refused, never repaired: the key would name
/// one resource and the app would serve another.
fn check_path(path: &[u8]) -> Result<(), KeyError> {
    if path.first() != Some(&b'/') {
        return Err(KeyError::Path);
    }
    for segment in path.split(|byte| *byte == b'/') {
        if matches!(decoded(segment)?.as_slice(), b"." | b"..") {
            return Err(KeyError::Path);
        }
    }
    Ok(())
}

/// Percent-decodes one path segment, refusing what must not stand in it even encoded.
fn decoded(segment: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.iter();
    while let Some(&byte) = bytes.next() {
        let (byte, encoded) = if byte == b'%' {
            let high = bytes.next().and_then(|b| hex(*b));
            let low = bytes.next().and_then(|b| hex(*b));
            let (Some(high), Some(low)) = (high, low) else {
                return Err(KeyError::Path);
            };
            (high << 4 | low, true)
        } else {
            (byte, false)
        };
        let allowed = match byte {
            b'/' | b'%' => !encoded,
            b'\\' | 0..=0x1f | 0x7f => false,
            b' ' | 0x80.. => encoded,
            _ => true,
        };
        if !allowed {
            return Err(KeyError::Path);
        }
        out.push(byte);
    }
    Ok(out)
}

const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn ascii(bytes: &[u8]) -> Result<&str, KeyError> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.is_ascii())
        .ok_or(KeyError::Path)
}

/// The keyed part of the query, byte for byte; the last-event-id parameter never belongs to it.
fn selected_query(query: Option<&[u8]>, settings: &Fanout) -> Result<Option<String>, KeyError> {
    let Some(query) = query else { return Ok(None) };
    if query
        .iter()
        .any(|byte| !(0x21..=0x7e).contains(byte) || *byte == b'#')
    {
        return Err(KeyError::Query);
    }
    let query = std::str::from_utf8(query).map_err(|_| KeyError::Query)?;
    let kept = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default();
        name != settings.last_event_id_query
            && match &settings.query {
                QuerySelection::All => true,
                QuerySelection::Only(names) => names.iter().any(|n| n == name),
            }
    };
    let parameters: Vec<&str> = query.split('&').filter(kept).collect();
    // `/a?` and `/a` are two targets to an app; only what we took away may change the form.
    let untouched = query.is_empty() && settings.query == QuerySelection::All;
    Ok((!parameters.is_empty() || untouched).then(|| parameters.join("&")))
}

fn checked_host(host: &str) -> Result<String, KeyError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]~%".contains(&byte);
    if host.is_empty() || host.len() > 255 || !host.bytes().all(allowed) {
        return Err(KeyError::Host);
    }
    Ok(host.to_ascii_lowercase())
}

/// Identity and `Origin`, in a fixed order, so that equal clients have equal keys.
fn identity(settings: &Fanout, headers: &HeaderMap) -> Result<Vec<(HeaderName, Bytes)>, KeyError> {
    let mut keyed = Vec::new();
    let mut take = |name: &HeaderName| -> Result<(), KeyError> {
        for value in headers.get_all(name) {
            keyed.push((name.clone(), checked_value(value.as_bytes())?));
        }
        Ok(())
    };
    if settings.share == Share::Credentials {
        for name in &settings.identity.headers {
            take(name)?;
        }
    }
    if settings.cors.is_none() {
        // The app answers CORS by origin, so what one origin may read another may not.
        take(&ORIGIN)?;
    }
    if settings.share == Share::Credentials
        && let Some(cookies) = cookies(&settings.identity.cookies, headers)?
    {
        keyed.push((COOKIE, cookies));
    }
    Ok(keyed)
}

fn checked_value(value: &[u8]) -> Result<Bytes, KeyError> {
    // RFC 9110 section 5.5: a field value holds no control byte but HTAB.
    if value
        .iter()
        .any(|byte| matches!(byte, 0..=8 | 10..=31 | 127))
    {
        return Err(KeyError::Header);
    }
    Ok(Bytes::copy_from_slice(value))
}

/// One `Cookie` value. HTTP/2 clients may split the field; RFC 9113 section 8.2.3 joins it by `; `.
fn cookies(which: &CookieIdentity, headers: &HeaderMap) -> Result<Option<Bytes>, KeyError> {
    let mut pairs: Vec<&[u8]> = Vec::new();
    for value in headers.get_all(COOKIE) {
        match which {
            CookieIdentity::All => pairs.push(value.as_bytes()),
            CookieIdentity::Named(_) => {
                pairs.extend(
                    value
                        .as_bytes()
                        .split(|byte| *byte == b';')
                        .map(<[u8]>::trim_ascii),
                );
            }
        }
    }
    if let CookieIdentity::Named(names) = which {
        let position = |pair: &[u8]| {
            let name = pair
                .split(|byte| *byte == b'=')
                .next()
                .unwrap_or_default()
                .trim_ascii();
            names.iter().position(|wanted| wanted.as_bytes() == name)
        };
        pairs.retain(|pair| position(pair).is_some());
        pairs.sort_by_key(|pair| position(pair));
    }
    if pairs.is_empty() {
        return Ok(None);
    }
    checked_value(&pairs.join(&b"; "[..])).map(Some)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
