-- One sequence for both journals, so that one number is a place in everything that happened. What was
-- recorded of agents before has places below it: no feed told of it, so no reader's cursor knows it.
update agent_events
set position = position - 1 - (select coalesce(max(position), 0) from agent_events);
