//! Which ports an HTTP upstream may have. TLS to a mail server or a database is not a model call; saying so here keeps a
//! base URL from being a port scanner.

use super::target::{Scheme, UrlRefused};

/// Below this a port belongs to a named service; of those, only the scheme's own is taken.
const WELL_KNOWN_END: u16 = 1024;

/// Services above 1023 that speak something else: remote procedure calls, voice, X11, chat, and the databases, caches,
/// queues and control sockets that trust whoever reaches them.
const OTHER_SERVICES: &[u16] = &[
    1433, 1434, 1521, 1719, 1720, 1723, 1883, 2049, 2181, 2375, 2376, 2379, 2380, 3306, 3389, 3659, 4045, 4190, 4369,
    5060, 5061, 5432, 5433, 5671, 5672, 5900, 6000, 6379, 6380, 6443, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697,
    7000, 7001, 9042, 9092, 9200, 9300, 10080, 10250, 10255, 11211, 15672, 25672, 26379, 27017, 27018, 27019, 50000,
];

/// Ports of mail servers; among those above 1023, any that [`check`] takes.
const MAIL: &[u16] = &[25, 465, 587];

pub(super) fn check_mail(port: u16) -> Result<(), UrlRefused> {
    if MAIL.contains(&port) || (port >= WELL_KNOWN_END && !OTHER_SERVICES.contains(&port)) {
        Ok(())
    } else {
        Err(UrlRefused::Port)
    }
}

pub(super) fn check(scheme: Scheme, port: u16) -> Result<(), UrlRefused> {
    let own = match scheme {
        Scheme::Https => 443,
        Scheme::Http => 80,
    };
    if port == own || (port >= WELL_KNOWN_END && !OTHER_SERVICES.contains(&port)) {
        Ok(())
    } else {
        Err(UrlRefused::Port)
    }
}
