-- Commands, device files, rollouts and the keys of agents are the tenant's whose agent it is: until now all of them stood
-- with the first tenant. What the audit log has said of them stays where it was said.

UPDATE command SET tenant_id = agent.tenant_id FROM agent
    WHERE agent.agent_id = command.agent_id AND command.tenant_id <> agent.tenant_id;
UPDATE command_state SET tenant_id = command.tenant_id FROM command
    WHERE command.command_id = command_state.command_id AND command_state.tenant_id <> command.tenant_id;
UPDATE device_file_version SET tenant_id = agent.tenant_id FROM agent
    WHERE agent.agent_id = device_file_version.agent_id AND device_file_version.tenant_id <> agent.tenant_id;
UPDATE enrolment_token SET tenant_id = sparkplug_group.tenant_id FROM sparkplug_group
    WHERE group_name = split_part(agent, '/', 1) AND enrolment_token.tenant_id <> sparkplug_group.tenant_id;
UPDATE agent_key SET tenant_id = sparkplug_group.tenant_id FROM sparkplug_group
    WHERE group_name = split_part(agent, '/', 1) AND agent_key.tenant_id <> sparkplug_group.tenant_id;
