"""What people and programs see over HTTP: pages made on the server, the JSON API, sign-in."""
