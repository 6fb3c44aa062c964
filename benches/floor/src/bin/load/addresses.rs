//! Whose request it is: a walk through a pool of addresses, scattered over 10.0.0.0/8, that comes to each of them once
//! before it comes to any again.

/// Coprime to every pool of the form 2^a 5^b, and near the golden ratio of a million: neighbours in the walk are far
/// from each other.
const STRIDE: u64 = 648_059;

/// A request's text, and the address in it.
pub(crate) fn request(number: u64, pool: u64, supplies: u64) -> String {
    let [_, a, b, c] = (((number % pool) * STRIDE % pool) as u32).to_be_bytes();
    let supply = number % supplies + 1;
    let body = format!(r#"{{"supply_id":"supply{supply}","ip":"10.{a}.{b}.{c}","country":"US","tmax":200}}"#);
    let length = body.len();
    format!(
        "POST /bid HTTP/1.1\r\nHost: bourse\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_address_of_a_pool_comes_before_any_comes_again() {
        for pool in [1, 1_000, 10_000, 1 << 12] {
            let address =
                |number| request(number, pool, 1).split("\"ip\":").nth(1).map(str::to_owned).unwrap();
            let seen: HashSet<_> = (0..pool).map(address).collect();
            assert_eq!(seen.len() as u64, pool);
            assert_eq!(address(0), address(pool));
        }
    }
}
