"""The shop: accounts, deployments as a service, gateway, API, pages and CLI."""
