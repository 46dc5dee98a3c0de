"""Home Assistant's MQTT discovery: the device and its pipelines as entities there, without a line of YAML."""
