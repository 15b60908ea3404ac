import { Controller, Get, Injectable, NestMiddleware } from '@nestjs/common';
import type { IncomingHttpHeaders } from 'node:http';
import type { NextFunction, Request, Response } from 'express';

interface PathStats {
  open: number;
  total: number;
  /** Request heads of the last connections. */
  heads: IncomingHttpHeaders[];
}

const HEADS_MAX = 16;
const stats = new Map<string, PathStats>();

/** Counts requests by path: those in progress and all so far. */
@Injectable()
export class ConnectionCounter implements NestMiddleware {
  use(request: Request, response: Response, next: NextFunction): void {
    const path = request.originalUrl.split('?')[0];
    const entry = stats.get(path) ?? { open: 0, total: 0, heads: [] };
    stats.set(path, entry);
    entry.open += 1;
    entry.total += 1;
    entry.heads = [...entry.heads, request.headers].slice(-HEADS_MAX);
    response.once('close', () => {
      entry.open -= 1;
    });
    next();
  }
}

@Controller('control/stats')
export class StatsController {
  @Get()
  stats(): Record<string, PathStats> {
    return Object.fromEntries(stats);
  }
}
