module peers/closed

go 1.26
