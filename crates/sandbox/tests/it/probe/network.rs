//! Attempts to reach anything but the own loopback.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::Facts;
use super::means::{errno_of, held};

pub(super) fn socket_families(_: &Facts) -> Result<(), String> {
    let families = [
        ("netlink", libc::AF_NETLINK, libc::SOCK_RAW),
        ("packet", libc::AF_PACKET, libc::SOCK_RAW),
        ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM),
        ("alg", libc::AF_ALG, libc::SOCK_SEQPACKET),
        ("bluetooth", libc::AF_BLUETOOTH, libc::SOCK_RAW),
        ("tipc", libc::AF_TIPC, libc::SOCK_STREAM),
        ("key", libc::AF_KEY, libc::SOCK_RAW),
        ("xdp", 44, libc::SOCK_RAW),
        ("raw", libc::AF_INET, libc::SOCK_RAW),
        ("raw6", libc::AF_INET6, libc::SOCK_RAW),
    ];
    for (name, family, kind) in families {
        let errno = errno_of(libc::SYS_socket, [family.into(), kind.into(), 1, 0, 0]);
        held(matches!(errno, libc::EPERM | libc::EAFNOSUPPORT), || format!("{name} answered {errno}"))?;
    }
    Ok(())
}

pub(super) fn interfaces(_: &Facts) -> Result<(), String> {
    let text = fs::read_to_string("/proc/net/dev").map_err(|e| e.to_string())?;
    let names: Vec<&str> = text.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
    held(names == ["lo"], || format!("{names:?}"))?;
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    held(routes.lines().count() <= 1, || routes)
}

fn connects(address: &str) -> bool {
    let address: SocketAddr = address.parse().unwrap();
    TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok()
}

pub(super) fn host_services(facts: &Facts) -> Result<(), String> {
    let port = facts.port;
    for host in ["127.0.0.1", "127.0.0.2", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]"] {
        held(!connects(&format!("{host}:{port}")), || format!("{host}:{port}"))?;
    }
    // Its own loopback works.
    let own = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("own loopback: {e}"))?;
    held(connects(&own.local_addr().unwrap().to_string()), || "own loopback is dead".to_owned())
}

pub(super) fn abstract_sockets(facts: &Facts) -> Result<(), String> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&facts.abstract_name).unwrap();
    held(std::os::unix::net::UnixStream::connect_addr(&address).is_err(), || facts.abstract_name.clone())
}

pub(super) fn outside_addresses(facts: &Facts) -> Result<(), String> {
    for address in ["169.254.169.254:80", "[fd00:ec2::254]:80", "192.0.2.1:80", "10.0.0.1:53"] {
        let address: SocketAddr = address.parse().unwrap();
        let error = TcpStream::connect_timeout(&address, Duration::from_millis(300)).err();
        // Unreachable at once: there is no route. A timeout would mean that a packet left.
        let unreachable = if facts.own_kernel { libc::EHOSTUNREACH } else { libc::ENETUNREACH };
        let errno = error.as_ref().and_then(std::io::Error::raw_os_error);
        held(errno == Some(libc::ENETUNREACH) || errno == Some(unreachable), || format!("{address}: {error:?}"))?;
    }
    Ok(())
}

/// No datagram leaves or arrives: not to the host's loopback, not to a name server, not to a group.
pub(super) fn datagrams(facts: &Facts) -> Result<(), String> {
    let port = facts.udp_port;
    for (own, host) in [("127.0.0.1:0", "127.0.0.1"), ("127.0.0.1:0", "127.0.0.53"), ("[::1]:0", "[::1]")] {
        held(!echoes(own, &format!("{host}:{port}")), || format!("{host}:{port}"))?;
    }
    for address in ["192.0.2.1:53", "224.0.0.251:5353", "255.255.255.255:67"] {
        let socket = UdpSocket::bind("0.0.0.0:0").map_err(|e| e.to_string())?;
        let _ = socket.set_broadcast(true);
        held(socket.send_to(b"x", address).is_err(), || address.to_owned())?;
    }
    let mut name = std::net::ToSocketAddrs::to_socket_addrs("livery-probe.example:80").map_err(drop);
    held(name.as_mut().is_err(), || "a name was resolved".to_owned())?;
    let ping =
        errno_of(libc::SYS_socket, [libc::AF_INET.into(), libc::SOCK_DGRAM.into(), libc::IPPROTO_ICMP.into(), 0, 0]);
    // gVisor's kernel has such sockets; like all of its sockets they reach its loopback alone.
    held(ping != 0 || facts.own_kernel, || "an ICMP socket".to_owned())
}

fn echoes(own: &str, address: &str) -> bool {
    let Ok(socket) = UdpSocket::bind(own) else { return false };
    let _ = socket.set_read_timeout(Some(Duration::from_millis(300)));
    let mut answer = [0; 16];
    socket.send_to(b"anyone?", address).is_ok() && socket.recv_from(&mut answer).is_ok()
}
