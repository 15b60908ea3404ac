import {
  Body, CanActivate, Controller, ExecutionContext, Headers, Injectable, MessageEvent, Post, Sse,
  UnauthorizedException, UseGuards,
} from '@nestjs/common';
import { interval, map, Observable, Subject } from 'rxjs';

/** Cookies of sessions that are over. */
const loggedOut = new Set<string>();

/** Lets in whose session is not over. */
@Injectable()
class SessionGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    if (loggedOut.has(context.switchToHttp().getRequest().headers.cookie)) {
      throw new UnauthorizedException('this session is over');
    }
    return true;
  }
}

/** Streams whose events the tests decide on. */
@Controller()
export class FeedController {
  private readonly events = new Subject<MessageEvent>();

  /** Every reader gets the events published after it came; NestJS numbers them from 1 for each. */
  @Sse('feed')
  feed(): Observable<MessageEvent> {
    return this.events;
  }

  /** A stream of the reader's own: what it says depends on who asks. */
  @Sse('mine')
  @UseGuards(SessionGuard)
  mine(@Headers('cookie') cookie = 'nobody'): Observable<MessageEvent> {
    return interval(50).pipe(map((n) => ({ data: { owner: cookie, n } })));
  }

  /** The session of a cookie is over. Streams that are open go on, as they do in most apps. */
  @Post('control/logout')
  logout(@Body() { cookie }: { cookie: string }): { over: string } {
    loggedOut.add(cookie);
    return { over: cookie };
  }

  @Post('control/send')
  send(@Body() events: MessageEvent[]): { sent: number } {
    events.forEach((event) => this.events.next(event));
    return { sent: events.length };
  }
}
