-- What Redis gives its scripts: Lua 5.1 with these globals. Unused loop variables are called `_`.
std = "lua51"
globals = {"KEYS", "ARGV"}
read_globals = {"redis", "cjson", "cmsgpack"}
max_line_length = 120
self = false
