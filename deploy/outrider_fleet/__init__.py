"""The operator's side: brokers, fleets and the demo."""
