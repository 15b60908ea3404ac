import { Body, Controller, Headers, MessageEvent, Post, Sse } from '@nestjs/common';
import { interval, map, Observable, Subject } from 'rxjs';

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
  mine(@Headers('cookie') cookie = 'nobody'): Observable<MessageEvent> {
    return interval(50).pipe(map((n) => ({ data: { owner: cookie, n } })));
  }

  @Post('control/send')
  send(@Body() events: MessageEvent[]): { sent: number } {
    events.forEach((event) => this.events.next(event));
    return { sent: events.length };
  }
}
