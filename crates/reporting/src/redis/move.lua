-- Makes a supply's sums hold what one instance has counted for it.
--
-- KEYS[1] the hash of the supply
-- ARGV[1] the field of the instance
-- ARGV[2] what the instance has counted, as JSON: {mark, total_reqs, countries, bidders}; numbers are strings, because
--         Lua's have 53 bits
-- Answers the mark that the hash now has of this instance: its own, or a higher one if a later push came first.
local written = redis.call('HGET', KEYS[1], ARGV[1])
local before = written and cjson.decode(written) or {mark = '0', total_reqs = '0', countries = {}, bidders = {}}
local now = cjson.decode(ARGV[2])
if written and tonumber(before.mark) >= tonumber(now.mark) then
    return before.mark
end

local function move(field, from, to)
    if from ~= to then
        if from ~= '0' then redis.call('HINCRBY', KEYS[1], field, '-' .. from) end
        if to ~= '0' then redis.call('HINCRBY', KEYS[1], field, to) end
    end
end

move('total_reqs', before.total_reqs, now.total_reqs)
for country, n in pairs(now.countries) do
    move('country:' .. country, before.countries[country] or '0', n)
end
for country, n in pairs(before.countries) do
    if not now.countries[country] then move('country:' .. country, n, '0') end
end
local counts = {'wins', 'revenue_micros', 'no_bids', 'timeouts'}
local nothing = {'0', '0', '0', '0'}
local function move_bidder(id, from, to)
    for i, count in ipairs(counts) do move('bidder:' .. id .. ':' .. count, from[i], to[i]) end
end
for id, n in pairs(now.bidders) do
    move_bidder(id, before.bidders[id] or nothing, n)
end
for id, n in pairs(before.bidders) do
    if not now.bidders[id] then move_bidder(id, n, nothing) end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return now.mark
