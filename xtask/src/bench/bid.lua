-- Asks POST /bid for supplies in turn, from a pool of addresses scattered over 10.0.0.0/8 that all come once before any
-- comes again: the same walk as `benches/floor/src/bin/load/addresses.rs`. Arguments: first number, pool, supplies.
local STRIDE = 648059

function init(args)
    number, pool, supplies = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
    heads = {}
    for length = 1, 200 do
        heads[length] = "POST /bid HTTP/1.1\r\nHost: bourse\r\nContent-Type: application/json\r\nContent-Length: "
            .. length .. "\r\n\r\n"
    end
end

function request()
    local at = (number % pool) * STRIDE % pool
    local c = at % 256
    local b = (at - c) / 256 % 256
    local a = (at - c - b * 256) / 65536
    local supply = number % supplies + 1
    number = number + 1
    local body = string.format('{"supply_id":"supply%d","ip":"10.%d.%d.%d","country":"US","tmax":200}',
        supply, a, b, c)
    return heads[#body] .. body
end

-- One line that `cargo xtask bench` reads; times in microseconds. A status from 400 on counts as a wrong answer.
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format("bench %d %d %d %d %d %d %d\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(90), latency:percentile(99), errors.status,
        errors.connect + errors.read + errors.write + errors.timeout))
end
