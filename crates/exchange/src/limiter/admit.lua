-- Whether a request of an address may go on: at most ARGV[1] in any ARGV[2] microseconds, by the server's own clock.
--
-- KEYS[1] a list of the times of the last requests that passed, latest first
-- Answers 0, or after how many microseconds the next one passes.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local requests, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local oldest = redis.call('LINDEX', KEYS[1], requests - 1)
if oldest and oldest + window > now then
    return oldest + window - now
end
redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
redis.call('LTRIM', KEYS[1], 0, requests - 1)
redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
return 0
