//! The answer in `invoice-reconcile`'s script is the truth about its files, worked out a second time and another way.

use std::collections::BTreeMap;

use crate::examples::{folder, path, script};

/// One invoice with what was paid for it, in cents.
struct Invoice {
    customer: String,
    issued: String,
    due: String,
    amount: i64,
    payments: Vec<i64>,
}

fn rows(file: &str) -> Vec<Vec<String>> {
    let folder = folder(&path("invoice-reconcile"));
    let text = String::from_utf8(folder.get(file).unwrap().bytes.clone()).unwrap();
    let rows: Vec<Vec<String>> =
        text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect();
    assert!(rows.iter().all(|row| row.len() == 5), "{file} has five columns");
    rows
}

fn cents(text: &str) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap();
    assert_eq!(fraction.len(), 2);
    format!("{whole}{fraction}").parse().unwrap()
}

fn letters(text: &str) -> String {
    text.to_uppercase().chars().filter(char::is_ascii_alphanumeric).collect()
}

/// The invoice a reference names, in the form of the first file.
fn named(reference: &str) -> Option<String> {
    let plain = letters(reference);
    let digits = plain[plain.find("INV20")? + 3..].get(..8)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("INV-{}-{}", &digits[..4], &digits[4..]))
}

fn reconciled() -> (usize, Vec<String>) {
    let mut invoices: BTreeMap<String, Invoice> = BTreeMap::new();
    for row in rows("files/invoices.csv") {
        let invoice = Invoice {
            customer: letters(&row[1]),
            issued: row[2].clone(),
            due: row[3].clone(),
            amount: cents(&row[4]),
            payments: vec![],
        };
        assert!(invoices.insert(row[0].clone(), invoice).is_none(), "numbers are unique");
    }
    let mut loose = Vec::new();
    let bank = rows("files/bank.csv");
    for row in &bank {
        match named(&row[3]).and_then(|id| invoices.get_mut(&id)) {
            Some(invoice) => invoice.payments.push(cents(&row[4])),
            None => loose.push((letters(&row[2]), cents(&row[4]))),
        }
    }
    for (customer, amount) in loose {
        let mut fitting = invoices
            .values_mut()
            .filter(|invoice| invoice.payments.is_empty() && invoice.customer == customer && invoice.amount == amount);
        if let (Some(invoice), None) = (fitting.next(), fitting.next()) {
            invoice.payments.push(amount);
        }
    }
    let end = bank.iter().map(|row| row[0].clone()).max().unwrap();
    let october = invoices.iter().filter(|(_, invoice)| invoice.issued.starts_with("2026-10"));
    let reasons: Vec<Option<String>> =
        october.map(|(id, invoice)| reason(invoice, &end).map(|reason| format!("{id} {reason}"))).collect();
    (reasons.iter().filter(|reason| reason.is_none()).count(), reasons.into_iter().flatten().collect())
}

/// Why an invoice is not settled.
fn reason(invoice: &Invoice, end: &str) -> Option<String> {
    let euros = |cents: i64| format!("{}.{:02}", cents / 100, cents % 100);
    let paid: i64 = invoice.payments.iter().sum();
    let open = invoice.amount - paid;
    let whole = invoice.payments.iter().filter(|payment| **payment == invoice.amount).count();
    Some(match () {
        () if open == 0 => return None,
        () if invoice.payments.is_empty() => {
            let since = if invoice.due.as_str() <= end { "overdue since" } else { "due" };
            format!("unpaid: {} {since} {}", euros(invoice.amount), invoice.due)
        }
        () if whole > 1 => format!("paid {whole} times: {} too much", euros(-open)),
        () if open < 0 => format!("overpaid: {} too much", euros(-open)),
        () if open * 20 <= invoice.amount => format!("short: {} missing of {}", euros(open), euros(invoice.amount)),
        () => format!("partly paid: {} of {}", euros(paid), euros(invoice.amount)),
    })
}

#[test]
fn the_script_tells_the_truth_about_the_files() {
    let script = script("invoice-reconcile", "reconcile");
    let finish = &script["turns"][3]["tools"][0]["arguments"];
    let (matched, unmatched) = reconciled();
    assert_eq!(finish["matched"], matched);
    assert_eq!(finish["unmatched"], serde_json::json!(unmatched));
    // Every kind of trouble is in the data; without that the example would prove little.
    for kind in ["unpaid: ", "overdue", "partly paid", "short: ", "paid 2 times", "overpaid"] {
        assert!(unmatched.iter().any(|line| line.contains(kind)), "{kind}");
    }
}

#[test]
fn the_script_expects_the_checksum_of_that_answer() {
    let (matched, unmatched) = reconciled();
    let list: Vec<String> = unmatched.iter().map(|line| format!("\"{line}\"")).collect();
    let json = format!("{{\"matched\":{matched},\"unmatched\":[{}]}}", list.join(","));
    let expected = format!(
        "RESULT {matched} matched, {} unmatched, checksum {} {}",
        unmatched.len(),
        cksum(json.as_bytes()),
        json.len()
    );
    let script = script("invoice-reconcile", "reconcile");
    assert_eq!(script["turns"][3]["expect"]["tool_result_contains"], expected);
}

/// POSIX `cksum`: CRC-32 with polynomial 04C11DB7 over the bytes, then their count from its lowest byte on; inverted.
fn cksum(bytes: &[u8]) -> u32 {
    let mut length = bytes.len();
    let mut tail = Vec::new();
    while length > 0 {
        tail.push(u8::try_from(length % 256).unwrap());
        length /= 256;
    }
    let mut crc = 0u32;
    for byte in bytes.iter().chain(&tail) {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x04c1_1db7 };
        }
    }
    !crc
}
