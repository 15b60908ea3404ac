// A real nginx in front of Sidestream, as an ingress that ended TLS would be.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Child } from '../../node/child.mjs';
import { onFreePorts } from '../../node/ports.mjs';

/** The address from which it connects to Sidestream. */
export const NGINX_ADDRESS = '127.0.0.1';

/** What people write, with all files in `directory`. */
const configFor = (directory, port, target) => `
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid ${directory}/pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  server {
    listen 0.0.0.0:${port};
    location / {
      proxy_pass ${target};
      proxy_bind ${NGINX_ADDRESS};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto https;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_read_timeout 1h;
    }
  }
}
`;

const accepts = (port) =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });

export class Nginx {
  /** Starts it before `target`, the address of a listener of Sidestream. */
  static async start(target) {
    const nginx = new Nginx();
    nginx.directory = mkdtempSync(join(tmpdir(), 'sidestream-nginx-'));
    const file = join(nginx.directory, 'nginx.conf');
    await onFreePorts(1, async ([port]) => {
      nginx.port = port;
      writeFileSync(file, configFor(nginx.directory, port, target));
      nginx.child = new Child('nginx', 'nginx', ['-p', nginx.directory, '-c', file], {
        // Where Debian puts it, which is not in everybody's path.
        env: { PATH: `${process.env.PATH}:/usr/sbin` },
      });
      await nginx.child.untilReady(() => accepts(port));
    });
    nginx.url = `http://127.0.0.1:${nginx.port}`;
    return nginx;
  }

  async stop() {
    try {
      await this.child.end('SIGTERM');
    } finally {
      rmSync(this.directory, { recursive: true, force: true });
    }
  }
}
