# Joins lessons to long conversations, so that a model learns to answer after some 600 to 2,000 tokens.
#
#     jq -nc --slurpfile names names.jsonl -f long.jq lessons.jsonl > long.jsonl
#
# A conversation ends with the lesson that makes it longer than 2,500 to 7,000 characters. Every second one begins with a
# user who says a name (the first exchange of a line of `names`) and ends with the question for it (the second exchange).
foreach (inputs | select(all(.messages[].content; test("ice to meet you|Your name is") | not))) as $talk (
  {messages: [], count: 0};
  (if .done then {messages: [], count: (.count + 1)} else . end)
  | .messages += $talk.messages
  | .done = ([.messages[].content | length] | add) > 2500 + .count * 7919 % 4500;
  select(.done)
  | $names[.count % ($names | length)].messages as $name
  | {messages: (if .count % 2 == 0 then $name[:2] + .messages + $name[2:4] else .messages end)}
)
