-- Posts the files named after `--` and their content type in turn; prints what was measured as one line of JSON.
--
-- `steady_per_s` is the slope of the least-squares line through (time, number of answers). Answers come a batch at a
-- time, and what is under way when time is up was worked on and is never counted: in ten seconds of a slow network
-- requests / duration is therefore some 10 % low, and the slope is not.

local ffi = require("ffi")
ffi.cdef [[
   struct bench_time { long seconds, nanoseconds; };
   int clock_gettime(int clock, struct bench_time *now);
]]
local MONOTONIC = 1 -- of Linux
local clock = ffi.new("struct bench_time")

local requests, sent = {}, 0
local first_s
answers, sum_t, sum_n, sum_tt, sum_tn = 0, 0, 0, 0, 0 -- global: the main thread reads them at the end

local function now_s()
   ffi.C.clock_gettime(MONOTONIC, clock)
   return tonumber(clock.seconds) + tonumber(clock.nanoseconds) / 1e9
end

function init(args)
   local headers = { ["Content-Type"] = args[1] }
   for number = 2, #args do
      local file = assert(io.open(args[number], "rb"))
      requests[number - 1] = wrk.format("POST", nil, headers, file:read("*a"))
      file:close()
   end
end

function request()
   sent = sent + 1
   return requests[(sent - 1) % #requests + 1]
end

function response()
   first_s = first_s or now_s()
   local t = now_s() - first_s
   answers = answers + 1
   sum_t, sum_n = sum_t + t, sum_n + answers
   sum_tt, sum_tn = sum_tt + t * t, sum_tn + t * answers
end

local the_thread

function setup(thread)
   the_thread = thread
end

local function steady_per_s()
   local n, t = the_thread:get("answers"), the_thread:get("sum_t")
   local spread = n * the_thread:get("sum_tt") - t * t
   return spread > 0 and (n * the_thread:get("sum_tn") - t * the_thread:get("sum_n")) / spread or 0
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "duration_us": %d, "steady_per_s": %.6f, "p50_us": %d, "p95_us": %d, "p99_us": %d, "not_2xx": %d, ' ..
      '"socket_errors": %d}\n',
      summary.requests, summary.duration, steady_per_s(), latency:percentile(50), latency:percentile(95),
      latency:percentile(99), errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
