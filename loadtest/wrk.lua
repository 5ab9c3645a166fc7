-- Sends the requests of the file that DISTILLGUARD_REQUESTS names, one after the other, and prints the result as
-- JSON. The file holds one request a line: key, TAB, body.
local requests = {}
local at = 0

function init(args)
  local path = args[1] or "/v1/chat/completions"
  for line in io.lines(os.getenv("DISTILLGUARD_REQUESTS")) do
    local key, body = line:match("^(%S+)\t(.*)$")
    requests[#requests + 1] = wrk.format("POST", path, {
      ["authorization"] = "Bearer " .. key,
      ["content-type"] = "application/json",
      ["user-agent"] = "OpenAI/Python 1.109.1",
      ["accept"] = "application/json",
      ["x-stainless-lang"] = "python",
      ["x-stainless-os"] = "Linux",
      ["x-stainless-runtime"] = "CPython",
    }, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  io.write(string.format(
    '\nRESULT {"requests":%d,"seconds":%.6f,"errors":%d,"p50_ms":%.3f,"p99_ms":%.3f}\n',
    summary.requests, summary.duration / 1e6,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
