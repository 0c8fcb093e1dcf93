ALTER TABLE gateway_used_nonce SET UNLOGGED;
CREATE INDEX gateway_used_nonce_by_time ON gateway_used_nonce USING brin (used_at);
