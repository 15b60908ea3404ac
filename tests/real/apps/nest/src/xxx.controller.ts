import { Controller, MessageEvent, Sse } from '@nestjs/common';
import { interval, map, merge, Observable, of } from 'rxjs';

/** The stream of the tutorial: `aaa` at once, `bbb` every 2 s, `ccc` every 5 s. */
@Controller('xxx')
export class XxxController {
  @Sse('stream')
  stream(): Observable<MessageEvent> {
    const aaa = of({ data: { msg: 'aaa' } });
    const bbb = interval(2_000).pipe(map(() => ({ data: { msg: 'bbb' } })));
    const ccc = interval(5_000).pipe(map(() => ({ data: { msg: 'ccc' } })));
    return merge(aaa, bbb, ccc);
  }
}
